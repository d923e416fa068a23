"""All cells: feature, line of the SDK, side, transport and revision; run and judged."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from enum import Enum
from itertools import product, starmap
from pathlib import Path

from msgspec import Struct, structs

from conformance.interop.drivers.features import FEATURES, Cell, Feature, Speaks
from conformance.interop.drivers.script import Target
from conformance.interop.known import Difference, Entry, Fault, Gap, Known
from conformance.interop.talk import (
    OUR_CLIENT,
    OUR_SERVER,
    PROGRAMS,
    ROOT,
    SSE,
    STATELESS,
    converse,
    node,
    offered,
    relayed,
)
from mcpcore.spec.revisions import BY_NAME as REVISION
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY, LEGACY, REVISIONS, Revision, Span
from mcpcore_conformance.everything.app import PAGE_SIZE
from mcpcore_conformance.launch import LaunchError

SIDES = ("client", "server")
ERAS = (LATEST_LEGACY, LATEST)
"""The newest revision of each."""
TRANSPORTS = ("stdio", "http", STATELESS, SSE)
OURS = "ours"
SMALL_PAGES = "3"


class Line(Struct, frozen=True):
    """A line of an SDK in Python, and where it is installed."""

    name: str
    version: str
    environment: str
    revisions: tuple[Revision, ...]
    """What it is tried in, oldest first."""
    programs: str
    """How its programs' names begin."""
    transports: tuple[str, ...] = TRANSPORTS
    """What it is tried over."""
    sides: tuple[str, ...] = SIDES

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return ROOT / self.environment / "bin" / "python"

    @property
    def installed(self) -> bool:
        """Whether the environment is complete, as the Makefile marks it."""
        stamp = self.python.parents[1] / f".installed-{self.version}"
        return self.python.exists() and stamp.exists()

    def has(self, module: str) -> bool:
        """Whether it has a module; the packages around it are there."""
        find = "import sys, importlib.util; sys.exit(not importlib.util.find_spec(sys.argv[1]))"
        done = subprocess.run([str(self.python), "-c", find, module], capture_output=True)
        return done.returncode == 0

    def program(self, side: str) -> list[str]:
        """The command of its client or its server."""
        return [str(self.python), str(PROGRAMS / f"{self.programs}_{side}.py")]


class TypeScriptLine(Line, frozen=True):
    """A line of the TypeScript SDK; ``environment`` is a folder of packages, ``programs`` one."""

    @property
    def installed(self) -> bool:
        """Whether it is there in this version, and Node."""
        about = ROOT / self.environment / self.programs / "package.json"
        there = node() is not None and about.exists()
        return there and json.loads(about.read_bytes())["version"] == self.version

    def has(self, module: str) -> bool:
        """Whether it has a module."""
        return (ROOT / self.environment / module).exists()

    def program(self, side: str) -> list[str]:
        """The command of its client, of which one half is in Python, or its server."""
        script, modules = PROGRAMS / f"typescript_{side}.mjs", ROOT / self.environment
        flag = "--experimental-import-meta-resolve"
        words = [node() or "node", flag, str(script), self.name[-3], str(modules)]
        if side == "server":
            return words
        return [sys.executable, str(script.with_suffix(".py")), shlex.join(words)]


_PACKAGES = ".tools/node_modules"
_OWN = "@modelcontextprotocol"
_BARE = ("stdio", "http")
LINES = (
    Line("2.x", "2.3.0", ".venv-sdk", REVISIONS, "sdk2"),
    Line("1.x", "1.30.0", ".venv-sdk1", LEGACY, "sdk1"),
)
"""The official SDK in Python."""
TYPESCRIPT = (
    TypeScriptLine("TypeScript 2.x", "2.4.0", _PACKAGES, ERAS, f"{_OWN}/server", _BARE),
    TypeScriptLine("TypeScript 1.x", "1.32.2", _PACKAGES, ERAS[:1], f"{_OWN}/sdk", _BARE),
)
"""The official SDK in TypeScript: in the newest revision of each era that a line speaks."""
FASTMCP = Line("fastmcp", "4.1.2", ".venv-fastmcp", ERAS, "fastmcp")
"""It says and hears in a way of its own what the SDK below it does."""
EVERY_LINE = (*LINES, *TYPESCRIPT, FASTMCP)


class Talk(Struct, frozen=True):
    """A conversation; ``side`` is what the SDK is in it."""

    line: Line
    side: str
    transport: str
    revision: Revision
    """That of the client."""
    behind: Revision | None = None
    """That of the server, where ``mcpcore gateway`` stands between the two."""
    server: Line | None = None
    """Whose the server is, if it is neither ours nor of the same line."""

    @property
    def client_name(self) -> str:
        """Whose the client is."""
        return self.line.name if self.side == "client" else OURS

    @property
    def server_name(self) -> str:
        """Whose the server is."""
        line = self.server if self.side == "client" else self.line
        return line.name if line else OURS

    @property
    def spoken(self) -> Revision:
        """What the line speaks in it."""
        return self.revision if self.side == "client" else self.behind or self.revision

    @property
    def foreign(self) -> list[tuple[str, str, str, str]]:
        """Line, side, transport and revision of each end that is not ours."""
        found = [(self.line.name, self.side, self.transport, self.spoken.name)]
        if self.server:
            heard = self.behind or self.revision
            found.append((self.server.name, "server", self.transport, heard.name))
        return found

    def __str__(self) -> str:
        own = f"{self.line.name} as {self.side}, {self.transport}, {self.revision.name}"
        server = f" of {self.server.name}" if self.server else ""
        if self.behind is None:
            return own + (f", to a server{server}" if server else "")
        return f"{own}, through a gateway to a server{server} in {self.behind.name}"


class Verdict(Enum):
    """What to think of a cell."""

    OK = "ok"
    RED = "FAIL"
    STALE = "FAIL (listed as known)"
    FAULT = "fault of the SDK"
    NONE = "n/a"

    @property
    def red(self) -> bool:
        """Whether it fails the run."""
        return self in (Verdict.RED, Verdict.STALE)


class Judged(Struct, frozen=True):
    """One cell."""

    talk: Talk
    feature: str
    verdict: Verdict
    note: str = ""
    """The reason, or what went wrong."""


def no_gaps(known: Known, lines: Iterable[Line] = LINES) -> list[str]:
    """Name the gaps that are none: a line has what it is said to lack."""
    return [
        f"{entry.features[0]!r} is no gap: SDK {line.name} has {entry.lacks}"
        for entry in known.gap
        for line in lines
        if line.name in entry.lines and line.has(entry.lacks)
    ]


def talks(
    lines: Iterable[Line] = LINES,
    sides: Iterable[str] = SIDES,
    transports: Iterable[str] = TRANSPORTS,
    revisions: Iterable[Revision] = REVISIONS,
) -> list[Talk]:
    """All conversations that can be had."""
    return [
        talk
        for talk in starmap(Talk, product(lines, sides, transports, revisions))
        if talk.transport in talk.line.transports and talk.side in talk.line.sides
        if absence(talk) is None
    ]


def foreign_talks(
    lines: Sequence[Line], transports: Iterable[str] = _BARE, revisions: Iterable[Revision] = ERAS
) -> list[Talk]:
    """Conversations of clients of the official SDK in Python with the server of fastmcp."""
    clients = [line for line in lines if line in LINES and FASTMCP in lines]
    found = talks(clients, ("client",), transports, revisions)
    return [structs.replace(talk, server=FASTMCP) for talk in found]


def relayed_talks(lines: Sequence[Line] = LINES) -> list[Talk]:
    """Conversations through a gateway, over HTTP: in each era, and from each to the other.

    A client that meets the other era meets a server of the official SDK there, too, and one of
    fastmcp in either; that of fastmcp is met over stdio as well.
    """
    stdio = foreign_talks(lines, ("stdio",))
    if FASTMCP in lines:
        stdio += talks([FASTMCP], ("server",), ("stdio",))
    found = [
        structs.replace(talk, behind=era)
        if talk.side == "client"
        else structs.replace(talk, revision=era, behind=talk.revision)
        for talk in (*talks(lines, transports=("http",), revisions=ERAS), *stdio)
        for era in ERAS
    ]
    clients = [talk for talk in found if talk.side == "client" and talk.transport == "http"]
    return [
        *found,
        *(  # the older line does not speak the newer era
            structs.replace(talk, server=LINES[talk.behind is LATEST_LEGACY])
            for talk in clients
            if talk.behind is not talk.revision
        ),
        *(structs.replace(talk, server=FASTMCP) for talk in clients if FASTMCP in lines),
    ]


def absence(talk: Talk, feature: Feature | None = None) -> str | None:
    """Say why the specification or the line has no such conversation, or no such feature in it."""
    if talk.spoken not in talk.line.revisions:
        return f"SDK {talk.line.name} is not tried in {talk.spoken.name}"
    stateless = talk.transport == STATELESS
    if (stateless or talk.transport == "http") and not talk.revision.streamable_http:
        return f"{talk.revision.name} has no Streamable HTTP"
    if talk.transport == SSE and not talk.revision.handshake:
        return f"{talk.revision.name} has no HTTP+SSE"
    if stateless and talk.side == "client":
        return "a mode of the SDK's servers"
    if feature is None:
        return None
    span = Span(REVISION[feature.since], REVISION[feature.until])
    if talk.revision not in span or (talk.behind or talk.revision) not in span:
        return "not in this revision"
    if talk.transport not in feature.transports:
        return f"only over {' and '.join(feature.transports)}"
    tells = feature.speaks is Speaks.TELLS
    asks = feature.speaks is Speaks.ASKS and talk.revision.server_requests
    if stateless and (tells or asks):
        return "without state and streams the server can only answer"
    return None


def present(talk: Talk, features: Iterable[Feature] = FEATURES) -> list[Feature]:
    """The features that are tried in a conversation."""
    return [feature for feature in features if absence(talk, feature) is None]


class Place(Struct, frozen=True):
    """What a client is led to: a server, and the gateway before it in ``spoken`` and ``behind``."""

    command: tuple[str, ...]
    transport: str
    spoken: Revision | None = None
    behind: Revision | None = None
    alone: Talk | None = None
    """The one conversation that it is for; None: several, one after the other."""

    @contextmanager
    def opened(self) -> Iterator[Target]:
        """Start it, and yield what to connect to."""
        with ExitStack() as stack:
            target = stack.enter_context(offered(self.command, self.transport))
            if self.spoken and self.behind:
                between = relayed(target, self.transport, self.spoken, self.behind)
                target = stack.enter_context(between)
            yield target


def place(talk: Talk) -> Place:
    """Say where a conversation is held.

    An SDK's client finds the revision by itself, as it would everywhere: our server is restricted
    to the one that is wanted.
    """
    ours = ["env", f"{PAGE_SIZE}={SMALL_PAGES}", *OUR_SERVER, "--revision"]
    server = talk.server if talk.side == "client" else talk.line
    spoken = talk.behind or talk.revision
    command = server.program("server") if server else [*ours, spoken.name]
    client = talk.revision if talk.behind else None
    alone = talk if talk.transport == "stdio" else None  # its client starts it
    return Place(tuple(command), talk.transport, client, talk.behind, alone)


def hold(
    talk: Talk, target: Target, features: Iterable[Feature], tell: Callable[[Cell], object]
) -> None:
    """Hold a conversation.

    The servers of others cannot be restricted, so that the client is, but for the newest revision,
    which it finds by itself.
    """
    of_sdk = talk.side == "client"
    client = talk.line.program("client") if of_sdk else list(OUR_CLIENT)
    restricted = of_sdk and (talk.server is None or talk.behind is not None)
    automatic = restricted or talk.revision is talk.line.revisions[-1]
    rounds = dict.fromkeys([feature.name for feature in features], 1)
    converse(client, target, talk.revision, rounds, tell, automatic=automatic)


def judge(talk: Talk, cell: Cell, known: Known) -> Judged:
    """Say what to think of an outcome.

    Between the eras a gateway may mend what is known to be wrong.
    """
    entry: Entry | Difference | None = known.find(talk.foreign, cell.feature)
    across = talk.behind is not None and talk.behind is not talk.revision
    if talk.behind and across:
        names = talk.server_name, talk.revision.name, talk.behind.name
        entry = known.differs(*names, cell.feature) or entry
    if cell.outcome == "ok":
        if entry is None or across:
            return Judged(talk, cell.feature, Verdict.OK)
        return Judged(talk, cell.feature, Verdict.STALE, f"it works, so it is not: {entry.reason}")
    if entry is None or not re.search(entry.seen, cell.detail):
        return Judged(talk, cell.feature, Verdict.RED, cell.detail)
    return _listed(talk, cell.feature, entry)


def _listed(talk: Talk, feature: str, entry: Entry | Difference) -> Judged:
    if isinstance(entry, Fault):
        return Judged(talk, feature, Verdict.FAULT, f"{entry.reason} ({entry.clause})")
    return Judged(talk, feature, Verdict.NONE, entry.reason)


def foreseen(talk: Talk, known: Known) -> list[Judged]:
    """What a conversation within an era comes to where no cell of it is red."""
    found = []
    for each in present(talk):
        entry = lack(talk, each, known) or known.find(talk.foreign, each.name)
        ok = Judged(talk, each.name, Verdict.OK)
        found.append(_listed(talk, each.name, entry) if entry else ok)
    return found


def lack(talk: Talk, feature: Feature, known: Known) -> Gap | None:
    """Say what a server that is not ours, alone or behind a gateway, lacks of a feature."""
    if talk.behind is None and talk.server is None:
        return None
    servers = [end for end in talk.foreign if end[1] == "server"]
    entry = known.find(servers, feature.name)
    return entry if isinstance(entry, Gap) else None


def run(
    chosen: Sequence[Talk],
    features: Sequence[Feature],
    known: Known,
    *,
    workers: int | None = None,
) -> Iterator[tuple[Talk, list[Judged]]]:
    """Hold the conversations, those of one place in turn, and yield each as it was chosen.

    What a server of others lacks is tried with our client alone: news would be waited for in vain.
    """
    places: dict[Place, list[Talk]] = {}
    for talk in chosen:
        if present(talk, features):
            places.setdefault(place(talk), []).append(talk)

    def one(talk: Talk, target: Target) -> list[Judged]:
        wanted = present(talk, features)
        lacking = {each: gap for each in wanted if (gap := lack(talk, each, known))}
        found = [Judged(talk, each.name, Verdict.NONE, gap.reason) for each, gap in lacking.items()]
        tried = [each for each in wanted if each not in lacking]
        hold(talk, target, tried, lambda cell: found.append(judge(talk, cell, known)))
        return found

    def all_of(where: Place) -> dict[Talk, list[Judged]]:
        try:
            with where.opened() as target:
                return {talk: one(talk, target) for talk in places[where]}
        except LaunchError as error:
            return {
                talk: [
                    judge(talk, Cell(each.name, "failed", str(error)), known)
                    for each in present(talk, features)
                ]
                for talk in places[where]
            }

    # Most of the time is spent in waiting, by tools that take their time; the longest go first.
    with ThreadPoolExecutor(workers or 2 * (os.cpu_count() or 1)) as pool:
        longest = sorted(places, key=lambda where: -len(places[where]))
        held = {where: pool.submit(all_of, where) for where in longest}
        for talk in chosen:
            there = held.get(place(talk))
            yield talk, there.result()[talk] if there else []
