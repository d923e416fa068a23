"""The memory allocator of a server process.

Python's own gives memory back a mebibyte at a time, when nothing at all is left in it: after a
flood a few objects here and there keep most of what it took.  With that of glibc each keeps a page,
and the rest goes back (:mod:`transports.tidying`), for a hundredth or two more CPU.  A process can
choose only when it starts (``PYTHONMALLOC``), so the command that is to serve starts anew, once, in
the same process: before anything is imported, read or opened.
"""

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from functools import cache

_VARIABLE = "PYTHONMALLOC"
_MARK = "MCPCORE_ALLOCATOR"
"""Says that the variable is of our making, and none of our children's business."""
_OPTION = "--allocator"
_LARGE = 4 * 1024 * 1024
"""Bytes of the largest block that is worth it: as large as the body of a request by default."""
_LASTING = frozenset({"--http", "--ws", "--sse", "--tcp", "--unix"})


class Allocator(StrEnum):
    """What `--allocator` takes."""

    SYSTEM = "system"
    """That of the C library, where it is glibc."""
    PYTHON = "python"
    """Python's, or what PYTHONMALLOC says."""


def choose(words: Sequence[str]) -> None:
    """Start ``mcpcore`` with these words anew if it should have another allocator.

    Returns where it should not: it does not serve, or on standard input alone; Python's is asked
    for, or PYTHONMALLOC or a mode of Python says what it has to be; it is not glibc.
    """
    if os.environ.pop(_MARK, None) is not None:
        os.environ.pop(_VARIABLE, None)
    elif _wanted(words) and _possible():
        again = [sys.executable, *sys.orig_argv[1:]]
        os.execve(  # noqa: S606 - ourselves, with the same words
            sys.executable, again, {**os.environ, _VARIABLE: "malloc", _MARK: "1"}
        )


def is_system() -> bool:
    """Whether this process has the allocator of the C library."""
    return not sys.getallocatedblocks()


@cache
def keep_room() -> None:
    """Have the memory of messages come from the heap, and stay there for the next ones.

    glibc maps blocks of 128 KiB and more anew each time, and gives back what is free at the end of
    its heap, until it has seen a larger block go.  So each MB of a message costs hundreds of page
    faults, and on streams of asyncio, which read to a block of 256 KiB, small ones cost two.  Once
    it has seen this one it keeps up to twice as much; :mod:`transports.tidying` gives that back.
    """
    bytes(_LARGE)  # which is never written to, and so takes no memory


def _wanted(words: Sequence[str]) -> bool:
    if not words or words[0] != "serve":
        return False
    chosen = _value(words)
    if chosen is None:
        names = {word.partition("=")[0] for word in words}
        return _VARIABLE not in os.environ and (
            "--stdio" not in names or not names.isdisjoint(_LASTING)
        )
    return chosen == Allocator.SYSTEM


def _value(words: Sequence[str]) -> str | None:
    """What the last `--allocator` says, if there is one."""
    value = None
    for place, word in enumerate(words):
        name, equals, rest = word.partition("=")
        if name == _OPTION:
            value = rest if equals else "".join(words[place + 1 : place + 2])
    return value


def _possible() -> bool:
    glibc = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", ())
    special = sys.flags.dev_mode or sys.flags.ignore_environment or sys.gettrace() is not None
    free_threaded = "t" in sys.abiflags  # it has an allocator of its own
    return bool(glibc and sys.executable) and not special and not free_threaded and not is_system()
