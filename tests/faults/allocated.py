"""Memory that a process uses: what its allocator has given out and not taken back.

Resident memory says more than that.  Python's own allocator takes memory from the system in arenas
of 1 MB and gives one back only if nothing at all is left in it: after ten thousand calls at a time
a few objects in each arena keep all of it.  So all processes of a soak have that of the C library:
there an object keeps a page of 4 KiB, and the rest can be given back.
"""

import ctypes
import os
import re
import sys
import tempfile
from typing import Any

_SMALL = re.compile(rb"# bytes in allocated blocks\s*=\s*([\d,]+)")
_SIZES = re.compile(rb'<(?:total|system) type="(fast|rest|mmap|current)"[^>]* size="(\d+)"')
"""In the report of the C library; the totals of all its heaps come last."""
_LIBC: Any = ctypes.CDLL(None)
_CHOICE = "PYTHONMALLOC"


def start_anew() -> None:
    """Start this program once more, in the same process, with the allocator of the C library, which
    its children get from the environment; nothing if that says what it has to be."""
    if _CHOICE not in os.environ and not _is_system():
        os.environ[_CHOICE] = "malloc"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def gives_back() -> bool:
    """Whether what this process has resident is what it uses, but for a page here and there."""
    return _is_system() and hasattr(_LIBC, "malloc_trim")


def give_back() -> None:
    """Give free memory back to the system, where the C library is glibc."""
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


def _is_system() -> bool:
    """Whether this process has the allocator of the C library."""
    return not sys.getallocatedblocks()


def in_use() -> float:
    """Memory that is in use in this process, in MB: what Python's allocator, if it has that, and
    the C library's have given out.  Without glibc it is Python's alone."""
    return (_python() + _library()) / 1e6


def _python() -> int:
    """Bytes in small objects; CPython tells of them on the standard error stream only."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            sys._debugmallocstats()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        said = _SMALL.search(file.read())
    return 0 if said is None else int(said[1].replace(b",", b""))


def _library() -> int:
    """Bytes in large objects and those of C, in the heaps of all threads."""
    if not hasattr(_LIBC, "malloc_info"):
        return 0
    _LIBC.open_memstream.restype = ctypes.c_void_p
    text, size = ctypes.c_char_p(), ctypes.c_size_t()
    stream = ctypes.c_void_p(_LIBC.open_memstream(ctypes.byref(text), ctypes.byref(size)))
    _LIBC.malloc_info(0, stream)
    _LIBC.fclose(stream)
    sizes = {name: int(count) for name, count in _SIZES.findall(text.value or b"")}
    _LIBC.free(text)
    took = sum(sizes.get(name, 0) for name in (b"current", b"mmap"))
    return took - sum(sizes.get(name, 0) for name in (b"fast", b"rest"))
