"""The machine and the packages that a run was made with."""

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from mcpcore_bench.method.samples import Machine

PACKAGES = (
    "mcpcore",
    "anyio",
    "trio",
    "msgspec",
    "h11",
    "httptools",
    "uvloop",
    "wsproto",
    "websockets",
)
MISSING = "not installed"
STAT = Path("/proc/stat")
_LISTING = (
    "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
)


def machine(peers: Mapping[str, tuple[Sequence[str], Sequence[str]]], root: Path) -> Machine:
    """Describe where a run is made.

    ``peers``: for each other environment the Python of it, as a command, and the packages to name;
    ``root``: the folder that our packages are in, which may be a checkout.
    """
    commit = _git(root, "rev-parse", "HEAD") if _git(root, "rev-parse", "--show-cdup") == "" else ""
    return Machine(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=_cpu(),
        cores=os.cpu_count(),
        memory=_memory(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        load=os.getloadavg(),
        packages=_ours(),
        peers={name: _theirs(*asked) for name, asked in peers.items()},
        commit=commit or None,
        changed=bool(commit and _git(root, "status", "--porcelain", "--untracked-files=no")),
    )


def _git(root: Path, *words: str) -> str | None:
    """What git says of a folder; None where it is not there, or knows nothing of it."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(root), *words],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


class OtherWork:
    """What else the machine does from here on, beside this process and all that it has started."""

    def __init__(self, stat: Path = STAT) -> None:
        """Begin; ``stat``: where the kernel tells how long processors were busy."""
        self._stat = stat
        self._began = time.monotonic()
        self._busy = _busy(stat)
        self._own = _own()

    def share(self) -> float | None:
        """How much of a processor others have taken so far; None where the kernel does not tell.

        Of children only those count as ours that have been waited for.
        """
        now = _busy(self._stat)
        passed = time.monotonic() - self._began
        if now is None or self._busy is None or not passed:
            return None
        return max(now - self._busy - (_own() - self._own), 0.0) / passed


def _busy(stat: Path) -> float | None:
    """Seconds that processors have worked for processes: ``user``, ``nice`` and ``system``.

    Interrupts are left out: a load over sockets makes many, which are in no process's time.
    """
    try:
        name, *ticks = stat.read_text().split("\n", 1)[0].split()
        return sum(map(int, ticks[:3])) / os.sysconf("SC_CLK_TCK") if name == "cpu" else None
    except (OSError, ValueError):
        return None


def _own() -> float:
    return sum(os.times()[:4])


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _memory() -> str:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{size / 1e9:.1f} GB"


def _ours() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = MISSING
    return found


def _theirs(python: Sequence[str], packages: Sequence[str]) -> dict[str, str]:
    # Of Node we want what it says of itself.
    command = [*python, "-c", _LISTING] if packages else [*python, "--version"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    if not packages:
        return {"version": said.strip()}
    versions = dict(word.split("==", 1) for word in said.split() if "==" in word)
    return {name: versions[name] for name in packages if name in versions}


def described(facts: Machine) -> list[str]:
    """Say it in lines for people."""
    packages = ", ".join(
        f"{name} {version}" for name, version in facts.packages.items() if version != MISSING
    )
    lines = [
        f"{facts.when}, {facts.cpu}, {facts.cores} cores, {facts.memory}, "
        f"{facts.system}, {facts.python}",
        f"load before: {', '.join(f'{value:.2f}' for value in facts.load)}",
        *([] if facts.code is None else [f"our code: {facts.code}"]),
        packages,
    ]
    for name, versions in facts.peers.items():
        if versions:
            listed = ", ".join(f"{package} {version}" for package, version in versions.items())
            lines.append(f"{name}: {listed}")
    return lines
