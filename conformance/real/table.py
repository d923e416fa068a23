"""The table of programs: ``programs.toml``, and what is known to be wrong: ``known.toml``."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from conformance.peers.checked import Checked, read_checked
from conformance.real.cells import CELLS
from mcpcore.spec.revisions import BY_NAME, Revision

HERE = Path(__file__).resolve().parent
ENDS, LIST, CALL, PROBE, KIT = "ends", "list", "call", "probe", "kit"
COMMANDS = (LIST, CALL, PROBE)
"""Of ours; each has a server of its own."""
SERVED = (*(name for name in CELLS if name != "agent"), ENDS, *COMMANDS, KIT)
"""Cells of a server: by our client, by our command, by the kit."""
COLUMNS = (*CELLS, ENDS, *COMMANDS, KIT)
TRANSPORTS = ("stdio", "http", "sse", "ws")

_Text = Annotated[str, Meta(min_length=1)]
_Strict = TypeVar("_Strict", bound=Struct)


class Package(Struct, frozen=True, forbid_unknown_fields=True):
    """Something to install: with npm into ``.tools/real``, or with pip into an environment."""

    name: str
    version: Annotated[str, Meta(pattern=r"^\d[\w.]*$")]
    place: Annotated[str, Meta(pattern=r"^(npm|\.venv-\w+)$")]
    extra: str = ""


class Offer(Struct, frozen=True, forbid_unknown_fields=True):
    """What a server is known to have; the words of :mod:`conformance.real.cells`.

    ``asks`` also say ``of``: what is asked for, elicitation, sampling or roots.
    """

    server: _Text
    tools: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    calls: tuple[dict[str, Any], ...] = ()
    asks: tuple[dict[str, Any], ...] = ()
    reads: tuple[dict[str, Any], ...] = ()
    fills: tuple[dict[str, Any], ...] = ()
    completes: tuple[dict[str, Any], ...] = ()
    changes: tuple[dict[str, Any], ...] = ()


class _Program(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: _Text
    package: str = ""
    """What has to be installed for it."""
    command: tuple[str, ...]
    env: dict[str, str] = {}
    needs: tuple[str, ...] = ()
    """Other programs that have to be there: git, chromium."""
    except_for: tuple[str, ...] = ()
    """Cells that are not tried; the table has a comment that says why."""


class ServerProgram(_Program, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A server, or a proxy in front of ours: it meets our client, our command and the kit."""

    transport: str
    offer: _Text
    revisions: Annotated[tuple[str, ...], Meta(min_length=1)]
    """In which it is met; the first is the newest, which our client has to find by itself."""
    called: str = ""
    """What it calls itself, if not as its offer has it: a part of that."""
    url: str = ""
    behind: str = ""
    """A proxy: how it talks to our server, which stands behind it."""
    kit_command: tuple[str, ...] = ()
    """Another command for the kit."""
    kit_in: tuple[str, ...] = ()
    """Revisions in which the kit is played, if not in all of them."""


class Run(Struct, frozen=True, forbid_unknown_fields=True):
    """A command that stands for a cell: its last words, and what it prints."""

    cell: str
    words: tuple[str, ...]
    expects: _Text


class ClientProgram(_Program, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A client: it meets our server.

    ``command`` is one of :mod:`conformance.real.programs`, and tries ``cells``; or it is run once
    for each of ``runs``.
    """

    transports: Annotated[tuple[str, ...], Meta(min_length=1)]
    cells: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    """What it can be asked for."""
    runs: tuple[Run, ...] = ()


class Row(Struct, frozen=True, eq=False):
    """A line of the table: a program over one transport, a server in one revision."""

    program: ServerProgram | ClientProgram
    transport: str
    revision: Revision | None = None

    @property
    def pinned(self) -> bool:
        """Whether our client is told the revision."""
        program = self.program
        return isinstance(program, ServerProgram) and self.revision_name != program.revisions[0]

    @property
    def revision_name(self) -> str:
        """The revision's name; empty for clients, which find the one they like."""
        return "" if self.revision is None else self.revision.name

    @property
    def peer(self) -> str:
        """What the findings of the kit are kept under."""
        return f"{self.program.name} over {self.transport}"

    @property
    def way(self) -> str:
        """The transport; of a proxy, also that behind it."""
        behind = self.program.behind if isinstance(self.program, ServerProgram) else ""
        return f"{self.transport} > {behind}" if behind else self.transport

    @property
    def has_kit(self) -> bool:
        """Whether the kit is played: with servers that are no proxies."""
        if not isinstance(self.program, ServerProgram) or self.program.behind:
            return False
        return self.revision_name in (self.program.kit_in or self.program.revisions)

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.program.name, self.way, self.revision_name)))


class Known(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Cells that are not as they should be, for a reason that is not ours.

    With ``clause``, the page of the specification that says otherwise, it is a fault of the
    program; without, the program does not have it.
    """

    programs: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Names, or patterns of them with ``*``."""
    ways: tuple[str, ...] = ("*",)
    """As in the table's second column, or patterns."""
    revisions: tuple[str, ...] = ()
    cells: Annotated[tuple[str, ...], Meta(min_length=1)]
    seen: _Text
    """A regular expression for how the cell fails; one that fails differently is red."""
    reason: _Text
    clause: str = ""
    gateway: bool | None = None
    """True for cells with ``mcpcore gateway`` in between, False for those without; None: both."""

    def __post_init__(self) -> None:
        if unknown := {*self.cells} - {*COLUMNS}:
            raise ValueError(f"cells: there is no {min(unknown)!r}")
        if unknown := {*self.revisions} - BY_NAME.keys():
            raise ValueError(f"revisions: there is no {min(unknown)!r}")
        try:
            re.compile(self.seen)
        except re.error as error:
            raise ValueError(f"seen: {self.seen!r}: {error}") from None

    def covers(self, row: Row, cell: str) -> bool:
        """Whether a cell is meant."""
        return (
            any(fnmatchcase(row.program.name, each) for each in self.programs)
            and any(fnmatchcase(row.way, each) for each in self.ways)
            and (not self.revisions or row.revision_name in self.revisions)
            and cell in self.cells
        )


class _Programs(Struct, frozen=True, forbid_unknown_fields=True):
    package: tuple[Package, ...] = ()
    offer: dict[str, Offer] = {}
    server: tuple[ServerProgram, ...] = ()
    client: tuple[ClientProgram, ...] = ()


class _KnownFile(Struct, frozen=True, forbid_unknown_fields=True):
    known: tuple[Known, ...] = ()


class Table(Struct, frozen=True):
    """All of it."""

    packages: dict[str, Package]
    offers: dict[str, Offer]
    rows: tuple[Row, ...]
    known: tuple[Known, ...]
    checked: tuple[Checked, ...]

    def find(self, row: Row, cell: str, *, gateway: bool) -> Known | None:
        """Return the first entry that a cell falls under."""
        known = (each for each in self.known if each.gateway in (None, gateway))
        return next((each for each in known if each.covers(row, cell)), None)


OURS = "ours"
"""The offer of our server, which stands behind proxies and before clients."""


def read_table(folder: Path = HERE) -> Table:
    """Read the files of a folder.  Raises ValueError naming what is wrong with them."""
    programs = _read(folder / "programs.toml", _Programs)
    packages = {each.name: each for each in programs.package}
    for client in programs.client:
        _check(client, packages)
    for server in programs.server:
        _check(server, packages)
        if server.offer not in programs.offer:
            raise ValueError(f"{server.name}: there is no offer {server.offer!r}")
    if programs.client and OURS not in programs.offer:
        raise ValueError(f"there is no offer {OURS!r}, which clients are to find")
    return Table(
        packages,
        programs.offer,
        tuple(_rows(programs)),
        _read(folder / "known.toml", _KnownFile).known,
        read_checked(folder / "checked.toml"),
    )


def _read(path: Path, kind: type[_Strict]) -> _Strict:
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), kind)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _check(program: ServerProgram | ClientProgram, packages: dict[str, Package]) -> None:
    if program.package and program.package not in packages:
        raise ValueError(f"{program.name}: there is no package {program.package!r}")
    cells = list(program.except_for)
    transports: Sequence[str]
    if isinstance(program, ServerProgram):
        transports = (program.transport, *filter(None, (program.behind,)))
        if unknown := {*program.revisions, *program.kit_in} - BY_NAME.keys():
            raise ValueError(f"{program.name}: there is no revision {min(unknown)!r}")
        if program.transport != "stdio" and not program.url:
            raise ValueError(f"{program.name}: over {program.transport} it needs a url")
    else:
        transports = program.transports
        cells += [*program.cells, *(each.cell for each in program.runs)]
    if unknown := {*transports} - {*TRANSPORTS}:
        raise ValueError(f"{program.name}: there is no transport {min(unknown)!r}")
    if unknown := {*cells} - {*COLUMNS}:
        raise ValueError(f"{program.name}: there is no cell {min(unknown)!r}")


def _rows(programs: _Programs) -> Iterator[Row]:
    for server in programs.server:
        for name in server.revisions:
            yield Row(server, server.transport, BY_NAME[name])
    for client in programs.client:
        for transport in client.transports:
            yield Row(client, transport)
