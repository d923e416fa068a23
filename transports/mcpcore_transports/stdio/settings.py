"""Settings of both sides of the stdio binding.  Times are in seconds, sizes in bytes."""

import os
import sys
from collections.abc import Callable, Collection, Mapping

from msgspec import Struct, field

from mcpcore.spec.bounds import check_numbers
from mcpcore_transports.stream.settings import PumpSettings

SAFE_ENVIRONMENT = frozenset(
    (
        "APPDATA HOMEDRIVE HOMEPATH LOCALAPPDATA PATH PATHEXT PROCESSOR_ARCHITECTURE SYSTEMDRIVE"
        " SYSTEMROOT TEMP TMP USERNAME USERPROFILE"
        if sys.platform == "win32"
        else "HOME LANG LC_ALL LC_CTYPE LOGNAME PATH SHELL TERM TMPDIR TZ USER"
    ).split()
)
"""Variables that a child inherits by default: none that is likely to be a secret."""


class StdioSettings(Struct, frozen=True, kw_only=True):
    """Settings for standard input and output."""

    pump: PumpSettings = field(default_factory=PumpSettings)
    redirect: bool = True
    """True to keep other code from using descriptors 0 and 1 while serving."""
    signals: bool = True
    """True if SIGTERM and SIGINT end the link gracefully; a second one ends it at once."""
    linger: float | None = 0.2
    """Seconds from the end of the link to the exit of the program, even if handlers still run.

    It applies to a whole program (``run``, the command) that serves nothing else.  None: it waits
    for the handlers.
    """
    end_children: bool = True
    """True to end also the programs that its handlers have started and left behind (Linux)."""

    def __post_init__(self) -> None:
        check_numbers(self, "linger")


class ProcessSettings(Struct, frozen=True, kw_only=True):
    """Settings for the start, the supervision and the end of a server process."""

    pump: PumpSettings = field(default_factory=PumpSettings)
    env: Mapping[str, str] | None = None
    """Variables for the child, in addition to :data:`SAFE_ENVIRONMENT`."""
    inherit_env: bool | Collection[str] = False
    """Names of further variables of ours for the child; True: our whole environment."""
    cwd: str | os.PathLike[str] | None = None
    stderr: str | Callable[[str], None] = "log"
    """Use of its stderr: ``log``, ``inherit`` (it is ours), ``discard``, or a callback per line."""
    stderr_line: int = 64 * 1024
    """Maximum bytes of a line of standard error; longer ones are cut into pieces."""
    stderr_tail: int = 20
    """Maximum number of lines of standard error that are kept for the error message."""
    stderr_tail_size: int = 16 * 1024
    """Maximum characters of the kept lines together; the oldest are dropped first."""
    startup_timeout: float | None = 60.0
    """Seconds from process start to the end of negotiation; None: the timeout of requests."""
    close_wait: float = 2.0
    """Seconds to exit after its input was closed."""
    term_wait: float = 2.0
    """Seconds to exit after SIGTERM."""
    kill_wait: float = 2.0
    """Seconds for the system to remove it after SIGKILL."""
    descendants: bool = True
    """True to end also its descendants in process groups and sessions of their own (Linux)."""
    guard: bool = True
    """True to end it also if this process is killed, by a small process beside it (POSIX)."""
    memory_limit: int | None = None
    """Bytes of data memory for the process, and for each that it starts (not macOS)."""
    cpu_limit: float | None = None
    """Seconds of CPU for the process, and for each that it starts, before it is ended (POSIX).

    The system counts whole seconds.
    """
