"""Driving the official suite with Node and reading its verdicts.

The suite (npm package ``@modelcontextprotocol/conformance``) writes one ``checks.json`` per
scenario: an array of checks, each with ``id``, ``status`` and ``errorMessage``.  Its own summary
is for people; the files are what is judged here.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from msgspec import Struct, field

from mcpcore_conformance.launch import serving

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / ".tools" / "node_modules"
NODE = MODULES / "node" / "bin" / "node"
SUITE = MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"

SIDES = ("server", "client")
BESIDE: dict[tuple[str, str], tuple[str, ...]] = {
    ("client", "2025-03-26"): (
        "auth/2025-03-26-oauth-metadata-backcompat",
        "auth/2025-03-26-oauth-endpoint-fallback",
    ),
    ("server", "2026-07-28"): (
        "sep-2640-skills-enumeration",
        "sep-2640-skills-manifest",
        "sep-2640-skills-directory",
    ),
    ("client", "2026-07-28"): (
        "sep-2640-client-no-prefetch",
        "sep-2640-client-verify-digest",
        "sep-2640-client-verify-size",
        "sep-2640-client-verify-frontmatter",
    ),
}
"""Scenarios that are in no requirement set, by side and revision."""
REVISIONS = ("2025-03-26", "2025-11-25", "2026-07-28")
"""The revisions that have a requirement set in the suite, or scenarios beside them."""
WITHOUT_SET = frozenset({"2025-03-26"})
"""Those of them that have no requirement set."""

SERVER_COMMAND = (
    sys.executable,
    "-m",
    "mcpcore_conformance.everything.server",
    "--http",
    "127.0.0.1:0",
)
CLIENT_COMMAND = (sys.executable, "-m", "mcpcore_conformance.everything.client")


class ToolsMissing(Exception):
    """Node or the suite is not installed; ``make ci-tools`` installs both."""


class Check(Struct, rename="camel"):
    """One check of a scenario, as the suite writes it."""

    id: str
    status: str
    """SUCCESS, FAILURE, WARNING, SKIPPED or INFO."""
    error_message: str | None = None
    description: str = ""

    @property
    def failed(self) -> bool:
        """Whether the check is not met; the suite's own baseline counts warnings as well."""
        return self.status in ("FAILURE", "WARNING")


class Scenario(Struct):
    """What became of one scenario."""

    name: str
    scored: bool
    """Whether the revision's requirement set counts it."""
    checks: list[Check] = field(default_factory=list)
    problem: str | None = None
    """Why there are no checks: the scenario itself could not be run."""

    @property
    def failures(self) -> list[Check]:
        """The checks that are not met."""
        return [check for check in self.checks if check.failed]

    @property
    def outcome(self) -> str:
        """``pass``, ``FAIL``, or ``skip`` if it ran without checking anything."""
        if self.problem is not None or self.failures:
            return "FAIL"
        return "pass" if self.counts[0] else "skip"

    @property
    def counts(self) -> tuple[int, int]:
        """How many checks passed, how many failed."""
        return sum(check.status == "SUCCESS" for check in self.checks), len(self.failures)


def require_tools() -> None:
    """Raise ToolsMissing unless Node and the suite are installed."""
    missing = [str(path.relative_to(ROOT)) for path in (NODE, SUITE) if not path.exists()]
    if missing:
        raise ToolsMissing(f"not installed: {', '.join(missing)}; run `make ci-tools`")


def _suite(*arguments: str, timeout: float = 900.0) -> subprocess.CompletedProcess[str]:
    """Run the suite's command; its exit status says nothing that the files do not say better."""
    return subprocess.run(
        [str(NODE), str(SUITE), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )


def requirements(revision: str, side: str) -> dict[str, bool]:
    """Name each scenario of ``side`` in the requirement set of ``revision``: True if scored."""
    beside = dict.fromkeys(BESIDE.get((side, revision), ()), False)
    if revision in WITHOUT_SET:
        return beside
    listing = _suite("list", "--requirements", revision)
    if listing.returncode != 0:
        raise ToolsMissing(f"the suite knows no requirements for {revision}: {listing.stderr}")
    found: dict[str, bool] = {}
    section = None
    for line in listing.stdout.splitlines():
        if heading := re.match(r"(Server|Client) scenarios", line):
            section = heading[1].lower()
        elif line.startswith("Run and reported"):
            section = None
        elif unscored := re.match(r"\s+- (\S+) \[(server|client)\]", line):
            if unscored[2] == side:
                found[unscored[1]] = False
        elif section == side and (scored := re.match(r"\s+- (\S+)$", line)):
            found[scored[1]] = True
    return found | beside


def _read(name: str, scored: bool, directory: Path, output: str) -> Scenario:
    """Read the checks that a scenario left somewhere below ``directory``."""
    files = sorted(directory.rglob("checks.json"))
    if not files:
        last = [line for line in output.splitlines() if line.strip()][-5:]
        return Scenario(name, scored, problem=" | ".join(last) or "the suite wrote no checks")
    checks = [
        check
        for file in files
        for check in msgspec.json.decode(file.read_bytes(), type=list[Check])
    ]
    return Scenario(name, scored, checks)


def run_server(
    revision: str, scenarios: dict[str, bool], *, command: Sequence[str] = SERVER_COMMAND
) -> Iterator[Scenario]:
    """Run server scenarios one after the other against one live server program.

    Several of a requirement set are run by one process of the suite, which runs the whole set, as
    to start it takes longer than a scenario.
    """
    if not scenarios:
        return
    beside = BESIDE.get(("server", revision), ())
    whole = [name for name in scenarios if name not in beside]
    runs = [[name] for name in scenarios if name in beside or len(whole) == 1]
    if len(whole) > 1:
        runs.insert(0, whole)
    with serving(command) as (url, *_):
        for names in runs:
            chosen = ["--requirements", revision]
            if len(names) == 1:
                chosen = ["--scenario", *names, "--spec-version", revision, "--force"]
            with tempfile.TemporaryDirectory() as folder:
                done = _suite("server", "--url", url, *chosen, "-o", folder)
                for name in names:
                    # The suite makes a folder for each scenario, whose name ends with the time.
                    made = [*Path(folder).glob(f"server-{name}-????-??-??T*"), Path(folder, name)]
                    yield _read(name, scenarios[name], made[0], done.stdout + done.stderr)


def run_client(
    revision: str, scenarios: dict[str, bool], *, command: Sequence[str] = CLIENT_COMMAND
) -> Iterator[Scenario]:
    """Run client scenarios, each with a client process of its own.

    The suite would start all of them at once, and one of them judges real time; here only as many
    run together as there are processors.
    """

    def run(name: str, scored: bool) -> Scenario:
        with tempfile.TemporaryDirectory() as folder:
            arguments = ["--command", " ".join(command), "--scenario", name]
            arguments += ["--spec-version", revision, "--force", "-o", folder]
            done = _suite("client", *arguments)
            return _read(name, scored, Path(folder), done.stdout + done.stderr)

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        yield from pool.map(run, scenarios.keys(), scenarios.values())


RUNNERS: dict[str, Callable[[str, dict[str, bool]], Iterator[Scenario]]] = {
    "server": run_server,
    "client": run_client,
}
