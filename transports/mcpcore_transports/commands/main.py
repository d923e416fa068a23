"""Entry of the command `mcpcore`; a module of its own, as it names the extra ``cli`` if missing."""

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence

_STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}
"""Standard streams in the order of their numbers, each with its mode."""
_INTERRUPTED = 130
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
MISSING = "the mcpcore command needs the extra `cli`: pip install 'mcpcore[cli]'"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with the given words, by default those of this process; never returns."""
    _prepare_streams()
    try:
        try:
            _run(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            if arguments is None:  # the process ends; one more Ctrl-C must not show where it is
                sys.stdout.flush()
                signal.signal(signal.SIGINT, signal.SIG_DFL)
    except BaseException as error:
        if _is_interrupt(error):
            sys.exit(_INTERRUPTED)
        if not isinstance(error, OSError) or error.errno not in _FULL:
            raise
        if arguments is None:  # what is left must not be written once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(f"error: the output cannot be written: {error.strerror}")


def _prepare_streams() -> None:
    """Fill the places of closed standard streams; let the others take any character."""
    for name, mode in _STREAMS.items():
        stream = getattr(sys, name)
        if stream is None:  # closed before the start; a socket must not get its number
            stream = open(os.devnull, mode)  # noqa: SIM115 - until the process ends
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
        elif (
            mode == "w"
            and isinstance(stream, io.TextIOWrapper)
            and not stream.encoding.lower().startswith("utf")
        ):
            stream.reconfigure(errors="backslashreplace")


def _is_interrupt(error: BaseException) -> bool:
    """Return True for a Ctrl-C that no command has taken.

    Tasks of a group raise it in a group; Python 3.11 makes a RuntimeError of it in a class body.
    """
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error.__cause__ or error, KeyboardInterrupt)


def _run(words: list[str]) -> None:
    # Words behind -- are the command of a server, never options of mcpcore.
    command = None
    if "--" in words:
        at = words.index("--")
        words, command = words[:at], tuple(words[at + 1 :])
    try:
        from mcpcore_transports.commands.app import build  # late: it needs the extra `cli`
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(MISSING)
    build(words)(args=words, prog_name="mcpcore", obj=command)


if __name__ == "__main__":
    main()
