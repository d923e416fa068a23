"""Settings of a server process: its start, its supervision and its shutdown."""

import math
import os
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec import Struct, field

from mcpcore.errors import LinkError
from mcpcore_transports.stream.connection import PumpSettings

SAFE_ENVIRONMENT = frozenset(
    (
        "APPDATA HOMEDRIVE HOMEPATH LOCALAPPDATA PATH PATHEXT PROCESSOR_ARCHITECTURE SYSTEMDRIVE"
        " SYSTEMROOT TEMP TMP USERNAME USERPROFILE"
        if sys.platform == "win32"
        else "HOME LANG LC_ALL LC_CTYPE LOGNAME PATH SHELL TERM TMPDIR TZ USER"
    ).split()
)
"""Variables that a child inherits by default: none that is likely to be a secret."""

KIBI = 1024


class ProcessSettings(Struct, frozen=True, kw_only=True):
    """Settings for the start and end of a server process.  Times are in seconds, sizes in bytes."""

    pump: PumpSettings = field(default_factory=PumpSettings)
    env: Mapping[str, str] | None = None
    """Variables for the child, in addition to :data:`SAFE_ENVIRONMENT`."""
    inherit_env: bool | Collection[str] = False
    """Names of further variables of ours for the child; True: our whole environment."""
    cwd: str | os.PathLike[str] | None = None
    stderr: str | Callable[[str], None] = "log"
    """Use of its stderr: ``log``, ``inherit`` (it is ours), ``discard``, or a callback per line."""
    stderr_line: int = 64 * KIBI
    """Maximum bytes of a line of standard error; longer ones are cut into pieces."""
    stderr_tail: int = 20
    """Maximum number of lines of standard error that are kept for the error message."""
    stderr_tail_size: int = 16 * KIBI
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


def environment(settings: ProcessSettings) -> dict[str, str]:
    """Return the variables of a child."""
    named = settings.inherit_env
    chosen: Collection[str] = () if isinstance(named, bool) else named
    env = {
        name: value
        for name, value in os.environ.items()
        if named is True
        or name in chosen
        # Some shells keep functions in variables.
        or (name in SAFE_ENVIRONMENT and not value.startswith("()"))
    }
    return {**env, **(settings.env or {})}


def limited(
    command: Sequence[str], settings: ProcessSettings, env: Mapping[str, str]
) -> Sequence[str]:
    """Return the command that starts ``command`` within its limits.  Raises LinkError.

    A shell sets the limits and turns into the program: they bind it from its first instruction, and
    no code of ours runs between fork and exec, which threads make unsafe.
    """
    memory, cpu = settings.memory_limit, settings.cpu_limit
    if memory is None and cpu is None:
        return command
    if sys.platform == "win32":
        raise LinkError("memory_limit and cpu_limit need a POSIX system")
    import resource

    steps = []
    if memory is not None:
        if sys.platform == "darwin":
            raise LinkError("memory_limit is not enforced by macOS; leave it out")
        # Linux: memory that was really requested, not the address space that runtimes reserve.
        letter, kind = ("d", resource.RLIMIT_DATA)
        if sys.platform != "linux":
            letter, kind = ("v", resource.RLIMIT_AS)
        _check("memory_limit", memory, kind)
        steps.append(f"ulimit -{letter} {max(1, memory // KIBI)}")
    if cpu is not None:
        seconds = math.ceil(cpu)
        _check("cpu_limit", seconds, resource.RLIMIT_CPU)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        steps.append(f"ulimit -S -t {seconds}")
        if hard == resource.RLIM_INFINITY or hard > seconds:
            steps.append(f"ulimit -H -t {seconds + 1}")  # SIGXCPU can be ignored, this cannot
    script = " && ".join([*steps, 'exec "$@"'])
    return ["/bin/sh", "-c", script, "sh", _find(command[0], settings, env), *command[1:]]


def _check(name: str, wanted: float, kind: int) -> None:
    import resource

    if wanted <= 0:
        raise LinkError(f"{name} must be more than 0, not {wanted:g}")
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise LinkError(f"{name} is {wanted:g}, but the system allows this process {hard:g}")


def _find(name: str, settings: ProcessSettings, env: Mapping[str, str]) -> str:
    """Return the file of a program; a shell would not report the error well.  Raises LinkError."""
    if "\0" in name:
        raise LinkError(f"cannot start {name}: embedded null byte")
    folder = os.fspath(settings.cwd or "")
    if os.path.dirname(name):
        path = os.path.abspath(os.path.join(folder, name))
        if not os.path.exists(path):
            raise LinkError(f"command not found: {name}")
        if os.path.isdir(path) or not os.access(path, os.X_OK):
            raise LinkError(f"cannot start {name}: Permission denied")
        return path
    found = shutil.which(name, path=env.get("PATH", os.defpath))
    if found is None:
        raise LinkError(f"command not found: {name}")
    return os.path.abspath(found)
