"""``pytest --mcp-server "python my_server.py"``: each case that applies becomes a test.

A clause that is a MUST and broken is a failure, a SHOULD that is not met an expected failure (with
``--mcp-strict`` a failure), what cannot be found out is skipped with the reason,
unless it is the case itself that failed, which is a failure.
"""

import math
from argparse import ArgumentTypeError
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mcpcore.trace.redaction import Redactor
    from mcpcore_conformance.kit.model import Result
    from mcpcore_conformance.pytest.subject import Playing
    from mcpcore_conformance.run.plan import Settings, Unit

OPTIONS = "mcp"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup(OPTIONS, "conformance with the Model Context Protocol")
    group.addoption(
        "--mcp-server",
        action="append",
        default=[],
        metavar="TARGET",
        help="check this server: a command, a URL (http, ws, tcp, unix) or MODULE:SERVER",
    )
    group.addoption(
        "--mcp-header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="send this with every request to the servers, over http, sse and ws; not in reports",
    )
    group.addoption(
        "--mcp-protected",
        metavar="COMMAND",
        help="start the server at the URL of --mcp-server, and tell it of an authorization server",
    )
    group.addoption(
        "--mcp-client",
        action="append",
        default=[],
        metavar="COMMAND",
        help="check this client; it is started for each case with the address as last argument",
    )
    group.addoption(
        "--mcp-transport",
        action="append",
        default=[],
        metavar="NAME",
        help="how to meet the client: http (default), stdio, ws, sse, tcp, unix",
    )
    group.addoption(
        "--mcp-revision", action="append", default=[], metavar="R", help="only this revision"
    )
    group.addoption(
        "--mcp-only",
        action="append",
        default=[],
        metavar="CASE",
        help="only this case, page or pattern (mcpcore conformance server --list shows them)",
    )
    group.addoption(
        "--mcp-tool",
        action="append",
        default=[],
        metavar="NAME",
        help="this tool of a server may be called, whatever it says of itself; '*': any",
    )
    group.addoption(
        "--mcp-strict", action="store_true", help="a SHOULD that is not met is a failure"
    )
    group.addoption("--mcp-timeout", type=_seconds, default=5.0, metavar="S", help="per answer")
    group.addoption("--mcp-seed", type=int, default=0, metavar="N")


def _seconds(text: str) -> float:
    """A time to wait.  Raises ArgumentTypeError."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise ArgumentTypeError(f"{text!r} is no time to wait; expected seconds, more than 0")
    return found


def pytest_configure(config: pytest.Config) -> None:
    """Refuse options that would do nothing for what is checked."""
    servers, clients = config.getoption("--mcp-server"), config.getoption("--mcp-client")
    if config.getoption("--mcp-header") and not servers:
        raise pytest.UsageError("--mcp-header is for servers, and there is no --mcp-server")
    if config.getoption("--mcp-protected") is not None and len(servers) != 1:
        raise pytest.UsageError("--mcp-protected starts one server, the one of --mcp-server")
    transports = config.getoption("--mcp-transport")
    if not transports:
        return
    if not clients:
        raise pytest.UsageError(
            "--mcp-transport says how a client is met, and there is no --mcp-client;"
            " how a server is met, its target says (a command, http://, ws://, sse+http:// ...)"
        )
    from mcpcore_conformance.run.clients import MEETING

    for name in transports:
        if name not in MEETING:
            raise pytest.UsageError(
                f"--mcp-transport {name}: clients cannot be met so; only over {', '.join(MEETING)}"
            )


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Look at what is to be checked, and add a test for each case that applies."""
    for side in ("server", "client"):
        for number, target in enumerate(config.getoption(f"--mcp-{side}"), 1):
            # what reports tell tests by, without the paths of this machine
            place = f"mcp-{side}" + (f"-{number}" if number > 1 else "")
            subject = Subject.from_parent(session, name=f"{side} {target}", nodeid=place)
            _collect(session, subject, items, target)


def _collect(
    session: pytest.Session, subject: "Subject", items: list[pytest.Item], target: str
) -> None:
    from mcpcore.errors import BadTarget
    from mcpcore_conformance.run.selection import NoSuchCase
    from mcpcore_conformance.run.servers import CannotRun
    from mcpcore_conformance.run.stages import CannotStart

    try:
        subject.open(target)
    except (BadTarget, CannotRun, CannotStart, NoSuchCase, ValueError) as error:
        if not hasattr(session.config, "workerinput"):
            raise pytest.UsageError(f"{subject.name}: {error}") from error
        # a process of pytest-xdist can say it in a test only
        items.append(NothingToCheck.from_parent(subject, name="can be checked", why=str(error)))
        return
    items.extend(subject.collect())
    session.config.add_cleanup(subject.stack.close)


class Subject(pytest.Collector):
    """What is checked: collects a test for each case."""

    playing: "Playing"

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)
        self.stack = ExitStack()

    def open(self, target: str) -> None:
        """Start it and look at it."""
        from mcpcore_conformance.kit.model import Binding
        from mcpcore_conformance.pytest.subject import playing_client, playing_server

        only, settings = self.config.getoption("--mcp-only"), _settings(self.config)
        if self.name.startswith("client"):
            bindings = [Binding(name) for name in self.config.getoption("--mcp-transport")]
            playing = playing_client(target, bindings, only, settings)
        else:
            headers = self.config.getoption("--mcp-header")
            command = self.config.getoption("--mcp-protected")
            playing = playing_server(target, only, settings, headers, command)
        self.playing = self.stack.enter_context(playing)

    def collect(self) -> Iterator["CaseItem"]:
        """The tests."""
        for unit in self.playing.units:
            name = f"{unit.case.id}[{unit.revision.name}-{unit.binding}]"
            yield CaseItem.from_parent(self, name=name, unit=unit)


class NothingToCheck(pytest.Item):
    """A test that fails, in the place of the cases of something that cannot be checked."""

    def __init__(self, *, why: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.why = why

    def runtest(self) -> None:
        """Say why."""
        pytest.fail(f"{self.parent.name if self.parent else ''}: {self.why}", pytrace=False)

    def reportinfo(self) -> tuple[str, int | None, str]:
        """Where it is."""
        return self.nodeid.partition("::")[0], None, self.name


class CaseBroken(Exception):
    """The clause of a case is broken, or the case itself."""

    def __init__(self, result: "Result") -> None:
        super().__init__(result.detail)
        self.result = result


class CaseItem(pytest.Item):
    """One case in one revision."""

    def __init__(self, *, unit: "Unit", **rest: Any) -> None:
        super().__init__(**rest)
        self.unit = unit

    def runtest(self) -> None:
        """Play it."""
        from mcpcore_conformance.kit.model import Verdict

        assert isinstance(self.parent, Subject)
        result = self.parent.playing.play(self.unit)
        hidden = _hiding(self.config)
        for note in result.notes:
            self.add_report_section("call", "note", hidden.text(note)[0])
        detail, _ = hidden.text(result.detail)
        strict = self.config.getoption("--mcp-strict")
        if result.faulty:
            raise CaseBroken(result)
        match result.verdict:
            case Verdict.FAILED:
                raise CaseBroken(result)
            case Verdict.WEAK if strict:
                raise CaseBroken(result)
            case Verdict.WEAK:
                pytest.xfail(f"SHOULD: {detail}")
            case Verdict.NOT_APPLICABLE | Verdict.INCONCLUSIVE:
                pytest.skip(f"{result.verdict}: {detail}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Say which clause is broken, how it was seen, and what was said on the way."""
        if not isinstance(excinfo.value, CaseBroken):
            return super().repr_failure(excinfo, style)
        result, hidden = excinfo.value.result, _hiding(self.config)
        lines = [
            hidden.text(result.detail)[0],
            "",
            f"{result.case.strength}: {result.case.summary}",
            f"expected: {result.case.expects}",
            f"clause: {result.case.link_in(result.revision)}",
            "",
            *_said(result, hidden),
        ]
        return "\n".join(lines)

    def reportinfo(self) -> tuple[str, int | None, str]:
        """Where it is."""
        assert self.parent is not None
        return self.parent.name, None, self.name


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell what is left of the cases after what was deselected."""
    left: dict[Subject, list[Unit]] = {}
    for item in session.items:
        if isinstance(item, CaseItem) and isinstance(item.parent, Subject):
            left.setdefault(item.parent, []).append(item.unit)
    for subject, units in left.items():
        subject.playing.choose(units)


def pytest_report_collectionfinish(
    config: pytest.Config, items: Sequence[pytest.Item]
) -> list[str]:
    """Say how many cases do not apply."""
    subjects = {item.parent for item in items if isinstance(item, CaseItem)}
    return [
        f"mcp {each.name}: {each.playing.left_out} cases do not apply"
        for each in subjects
        if isinstance(each, Subject)
    ]


def _hiding(config: pytest.Config) -> "Redactor":
    """What takes the values of the headers that were given out of all that is shown."""
    from mcpcore_conformance.pytest.subject import values_of
    from mcpcore_conformance.reports.report import hiding

    return hiding(values_of(config.getoption("--mcp-header")))


def _said(result: "Result", hidden: "Redactor") -> Iterator[str]:
    from mcpcore.trace.format import FORMAT, Header
    from mcpcore_conformance.kit.model import Side
    from mcpcore_conformance.run.transcript import records_of
    from mcpcore_conformance.trace.reading import Entry, TraceFile
    from mcpcore_conformance.trace.show import timeline

    header = Header(
        trace=FORMAT,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        side="client" if result.case.side is Side.SERVER else "server",
        binding=result.binding,
        program="the conformance kit",
    )
    entries = [
        Entry(number, each) for number, each in enumerate(records_of(result, hidden), start=1)
    ]
    yield from timeline(TraceFile(header, entries), width=200)


def _settings(config: pytest.Config) -> "Settings":
    from mcpcore.spec.revisions import REVISIONS, parse_revisions
    from mcpcore_conformance.run.plan import Settings

    chosen = parse_revisions(config.getoption("--mcp-revision"))
    return Settings(
        revisions=tuple(each for each in REVISIONS if each in chosen) or REVISIONS,
        named=bool(chosen),
        jobs=1,
        timeout=config.getoption("--mcp-timeout"),
        seed=config.getoption("--mcp-seed"),
        tools=tuple(config.getoption("--mcp-tool")),
    )
