"""One conversation: a server program, a client program, and the outcomes of the features."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from conformance.interop.drivers.features import Cell
from conformance.interop.drivers.script import Target
from mcpcore.spec.revisions import Revision
from mcpcore_conformance.launch import serving

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).resolve().parent / "sdk"
OUR_SERVER = (sys.executable, "-m", "mcpcore_conformance.everything.server")
OUR_GATEWAY = (sys.executable, "-m", "mcpcore_transports.commands.main", "gateway")
OUR_CLIENT = (sys.executable, "-m", "conformance.interop.our_client")
LOOPBACK = "127.0.0.1:0"
STATELESS = "http, stateless"
"""Streamable HTTP without sessions, and with answers that are no streams."""
SSE = "sse"
"""HTTP+SSE, the transport of 2024-11-05."""
MEMORY = "memory://everything"
"""What our client takes for the everything server in its own process."""
BINDINGS = {
    "stdio": ["--stdio"],
    "http": ["--http", LOOPBACK],
    STATELESS: ["--http", LOOPBACK, "--stateless"],
    SSE: ["--sse", LOOPBACK],
    "websocket": ["--ws", LOOPBACK],
    "tcp": ["--tcp", LOOPBACK],
}
SECONDS = 600.0
"""How long one conversation may take."""

Tell = Callable[[Cell], object]


class ClientFailed(Exception):
    """The client ended before it had driven every feature."""


def node() -> str | None:
    """Find Node: that of ``make ci-tools`` before any other."""
    ours = ROOT / ".tools" / "node_modules" / "node" / "bin" / "node"
    return str(ours) if ours.exists() else shutil.which("node")


@contextmanager
def offered(command: Sequence[str], transport: str) -> Iterator[Target]:
    """Start a server where it stands by itself, and yield what to connect to."""
    if transport == "memory":
        yield MEMORY
    elif transport == "unix":
        with (
            tempfile.TemporaryDirectory(prefix="mcp-") as folder,
            serving([*command, "--unix", f"{folder}/s"]) as (url,),
        ):
            yield url
    elif transport == "stdio":
        yield [*command, *BINDINGS[transport]]
    else:
        with serving([*command, *BINDINGS[transport]]) as (url,):
            yield url


@contextmanager
def relayed(
    target: Target, transport: str, revision: Revision, server_revision: Revision
) -> Iterator[Target]:
    """Start a gateway before a server, and yield what to connect to."""
    spoken = ["--revision", revision.name, "--server-revision", server_revision.name]
    behind = [target] if isinstance(target, str) else ["--", *target]
    binding = BINDINGS["http" if transport == STATELESS else transport]
    # Some servers take long to start, on a busy machine above all.
    command = [*OUR_GATEWAY, "--start-time", "300", *spoken, *binding, *behind]
    if transport == "stdio":
        yield command
    else:
        with serving(command) as (url,):
            yield url


def converse(
    client: Sequence[str],
    target: Target,
    revision: Revision,
    rounds: Mapping[str, int],
    tell: Tell,
    *,
    automatic: bool = False,
) -> None:
    """Have a client drive the features named in ``rounds``; each is told exactly once.

    ``automatic``: the client is to find the revision by itself.  What is missing at the end is
    told as failed.
    """
    missing = list(rounds)

    def told(cell: Cell) -> None:
        missing.remove(cell.feature)
        tell(cell)

    try:
        _drive(client, target, revision, rounds, told, automatic=automatic)
    except ClientFailed as error:
        problem = str(error)
    else:
        problem = "the client did not drive it"
    for feature in missing:
        tell(Cell(feature, "failed", problem))


def _drive(
    client: Sequence[str],
    target: Target,
    revision: Revision,
    rounds: Mapping[str, int],
    tell: Tell,
    *,
    automatic: bool,
) -> None:
    facts = msgspec.json.encode(revision).decode()
    orders = ["--facts", facts, "--rounds", json.dumps(dict(rounds))]
    orders += ["--automatic"] * automatic
    where = [target] if isinstance(target, str) else ["--", *target]
    with subprocess.Popen(
        [*client, *orders, *where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            out, err = child.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
    for line in out.splitlines():
        tell(msgspec.json.decode(line, type=Cell))
    if child.returncode:
        raise ClientFailed(f"the client ended early: {_last_words(err, child.returncode)}")


def _last_words(err: str, status: int) -> str:
    """What a program said last on stderr: the end of a traceback, whole."""
    lines = [line.strip(" |") for line in err.splitlines() if line.strip(" |+-")]
    for index in reversed(range(len(lines))):
        if re.match(r"[\w.]+: ", lines[index]):
            return " ".join(lines[index:])
    return lines[-1] if lines else f"exit status {status}"
