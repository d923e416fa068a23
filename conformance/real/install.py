"""Installing the programs: npm's below ``.tools/real``, PyPI's in environments of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conformance.real.table import Package

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools" / "real"
REASONS = TOOLS / "not-installed.json"
"""Why a package is not there, by names, since it was tried last."""
NPM = "npm"
NO_BROWSERS = {"PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD": "1", "PUPPETEER_SKIP_DOWNLOAD": "1"}
"""What packages would fetch besides when they are installed."""
TIMEOUT = 600.0
REASON = 200
"""Characters of a reason."""


def installed(package: Package) -> bool:
    """Whether a package is there, in the version that the table names."""
    if package.place == NPM:
        about = TOOLS / "node_modules" / package.name / "package.json"
        return about.exists() and json.loads(about.read_text())["version"] == package.version
    name = re.sub(r"[-_.]+", "_", package.name)
    info = f"lib/python*/site-packages/{name}-{package.version}.dist-info"
    return any((ROOT / package.place).glob(info))


def missing(package: Package) -> str:
    """Why a package cannot be used; empty if it can."""
    if installed(package):
        return ""
    reasons = json.loads(REASONS.read_text()) if REASONS.exists() else {}
    return str(reasons.get(package.name, f"{package.name} is not installed: make real"))


def install(packages: Iterable[Package], tell: Callable[[str], object]) -> None:
    """Install what is not there.  What cannot be installed is told, and remembered why."""
    places: dict[str, list[Package]] = {}
    for package in packages:
        if not installed(package):
            places.setdefault(package.place, []).append(package)
    reasons: dict[str, str] = {}
    with ThreadPoolExecutor(max(1, len(places))) as threads:
        for found in threads.map(lambda place: _fill(place, places[place], tell), places):
            reasons |= found
    TOOLS.mkdir(parents=True, exist_ok=True)
    REASONS.write_text(json.dumps(reasons, indent=2))
    for reason in reasons.values():
        tell(reason)


def _fill(place: str, packages: Sequence[Package], tell: Callable[[str], object]) -> dict[str, str]:
    """Install packages in one place: all at once, or, if that fails, each by itself."""
    tell(f"{place}: installing {', '.join(each.name for each in packages)}")
    if not _install(place, packages):
        return {}
    reasons = {each.name: _install(place, [each]) for each in packages}
    return {
        name: f"{name} cannot be installed: {why}"[:REASON] for name, why in reasons.items() if why
    }


def _install(place: str, packages: Sequence[Package]) -> str:
    """Return why it failed; empty if it did not."""
    if place == NPM:
        npm = shutil.which("npm")
        if npm is None:
            return "there is no npm"
        TOOLS.mkdir(parents=True, exist_ok=True)
        specs = [f"{each.name}@{each.version}" for each in packages]
        quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
        return _run([npm, "install", "--prefix", str(TOOLS), *quiet, *specs])
    python = ROOT / place / "bin" / "python"
    if not python.exists() and (why := _run([sys.executable, "-m", "venv", str(ROOT / place)])):
        return why
    extras = [f"[{each.extra}]" if each.extra else "" for each in packages]
    specs = [
        f"{each.name}{extra}=={each.version}" for each, extra in zip(packages, extras, strict=True)
    ]
    return _run([str(python), "-m", "pip", "install", "-q", *specs])


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **NO_BROWSERS},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if not done.returncode:
        return ""
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines()]
    wrong = [line for line in lines if "error" in line.lower()]
    return next(iter(wrong or filter(None, lines[::-1])), f"exit status {done.returncode}")
