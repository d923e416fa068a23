"""Who signs in where, with tokens of whom: the rows, and how each is run."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import msgspec
from msgspec import Struct

from conformance.interop.authorization.steps import ADMIN, READ, STEPS, WRITE
from conformance.interop.drivers.features import Cell
from conformance.interop.matrix import LINES
from conformance.interop.talk import PROGRAMS, ROOT
from mcpcore_conformance.launch import LaunchError, serving

FASTMCP = ROOT / ".venv-fastmcp" / "bin" / "python"
SDK = LINES[0]
REVISIONS = ("2025-11-25", "2026-07-28")
"""One of each era."""
DEVELOPMENT, OWN, OPAQUE = "development server", "official SDK", "official SDK, opaque tokens"
"""Authorization servers: ours for development, and one that is built with the official SDK."""
SECONDS = 300.0
"""How long one client may take."""
AT_A_TIME = 2

OURS = (sys.executable, "-m")
_HERE = "conformance.interop.authorization"


def _foreign(python: object, program: str) -> tuple[str, ...]:
    return (str(python), str(PROGRAMS / f"{program}.py"))


CLIENTS = {
    "our": (*OURS, f"{_HERE}.our_client"),
    "SDK": _foreign(SDK.python, "sdk2_auth_client"),
    "fastmcp": _foreign(FASTMCP, "fastmcp_auth_client"),
}
SERVERS = {
    "our": (*OURS, f"{_HERE}.our_server"),
    "SDK": _foreign(SDK.python, "sdk2_auth_server"),
    "fastmcp": _foreign(FASTMCP, "fastmcp_auth_server"),
}


class Meeting(Struct, frozen=True):
    """A client, a protected server, and the authorization server that it trusts."""

    client: str
    server: str
    issuer: str
    revision: str

    def __str__(self) -> str:
        return f"{self.client} → {self.server}, {self.issuer}, {self.revision}"

    @property
    def steps(self) -> tuple[str, ...]:
        """What is tried: the servers of others have no scopes of tools."""
        return tuple(step for step in STEPS if self.server == "our" or step != "step up")

    @property
    def missing(self) -> str | None:
        """What is not installed for it, if anything."""
        parties = (self.client, self.server)
        if ("SDK" in parties or self.issuer != DEVELOPMENT) and not SDK.installed:
            return "the official SDK is not installed: make sdk"
        if "fastmcp" in parties and not FASTMCP.exists():
            return "fastmcp is not installed: make bench-tools"
        return None


MEETINGS = tuple(
    Meeting(*parties, revision)
    for parties in (
        ("our", "SDK", OWN),
        ("our", "SDK", DEVELOPMENT),
        ("our", "fastmcp", DEVELOPMENT),
        ("our", "our", DEVELOPMENT),
        ("our", "our", OWN),
        ("our", "our", OPAQUE),
        ("SDK", "our", DEVELOPMENT),
        ("SDK", "our", OWN),
        ("fastmcp", "our", DEVELOPMENT),
        ("fastmcp", "our", OWN),
    )
    for revision in REVISIONS
)

Told = Callable[[Meeting, Cell], object]


def run(meetings: Sequence[Meeting], told: Told) -> None:
    """Have all meetings, some at a time; every step of each is told exactly once."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for done in [pool.submit(meet, meeting, told) for meeting in meetings]:
            done.result()


def meet(meeting: Meeting, told: Told) -> None:
    """Have one meeting, with servers of its own."""
    try:
        with issuing(meeting.issuer) as issuer, protected(meeting, issuer) as (url, strict):
            visit(meeting, url, strict, told)
    except LaunchError as error:
        for step in meeting.steps:
            told(meeting, Cell(step, "failed", str(error)))


@contextmanager
def issuing(name: str) -> Iterator[str]:
    """Run an authorization server, and yield its issuer."""
    command = [*OURS, "mcpcore_conformance.auth", "--yes", "--scope", READ, "--scope", WRITE]
    if name != DEVELOPMENT:
        command = [*SERVERS["SDK"], *(["--opaque"] if name == OPAQUE else [])]
    with serving(command, timeout=60.0) as (url,):
        yield url.removesuffix("/mcp")


@contextmanager
def protected(meeting: Meeting, issuer: str) -> Iterator[tuple[str, str | None]]:
    """Run a protected server.

    Yields its URL, and that of one like it which demands a scope that nobody has, where it takes a
    server of its own.
    """
    command = [*SERVERS[meeting.server]]
    own = meeting.server == "SDK" and meeting.issuer == OWN
    if not own:
        command += ["--issuer", issuer]
    if meeting.server == "our":
        command += ["--revision", meeting.revision]
        command += {
            DEVELOPMENT: [],
            OWN: ["--jwks", f"{issuer}/jwks"],
            OPAQUE: ["--introspection", f"{issuer}/introspect"],
        }[meeting.issuer]
    with ExitStack() as stack:
        if own:
            url = f"{issuer}/mcp"
        else:
            (url,) = stack.enter_context(serving(command, timeout=60.0))
        strict = None
        if meeting.server != "our":
            (strict,) = stack.enter_context(serving([*command, "--require", ADMIN], timeout=60.0))
        yield url, strict


def visit(meeting: Meeting, url: str, strict: str | None, told: Told) -> None:
    """Have the client take all steps; what it does not tell has failed."""
    orders = [url, *(["--strict", strict] if strict else [])]
    if meeting.client == "our" != meeting.server:
        orders += ["--revision", meeting.revision]
    problem = "the client did not get so far"
    try:
        done = subprocess.run(
            [*CLIENTS[meeting.client], *orders],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=ROOT,
            check=False,
        )
        out = done.stdout
        if done.returncode:
            problem = (done.stderr.strip().splitlines() or [problem])[-1]
    except subprocess.TimeoutExpired as late:
        out, problem = (late.stdout or b"").decode(), f"it took longer than {SECONDS:g} s"
    missing = list(meeting.steps)
    for line in out.splitlines():
        cell = msgspec.json.decode(line, type=Cell)
        missing.remove(cell.feature)
        told(meeting, cell)
    for step in missing:
        told(meeting, Cell(step, "failed", problem))
