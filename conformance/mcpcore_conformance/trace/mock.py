"""`mcpcore trace mock`: a server out of a trace, for any number of clients.

A request gets the answer that stands in the trace for its method and params, without ``_meta``.
What the engine answers by itself (handshakes, ``ping``, subscriptions) is not looked up.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct, field, structs

from mcpcore.engine.config import ANY_EXTENSION, Config
from mcpcore.engine.events import Event, RequestCancelled, RequestReceived
from mcpcore.engine.input_rounds import InputRequest
from mcpcore.http.server.sessions import SessionClosed
from mcpcore.relay.cells import CELLS, error_in, result_in
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, ErrorData, LocalError
from mcpcore.spec.types.base import META_SERVER_INFO, Implementation, LoggingLevel
from mcpcore.trace.format import TO_SERVER
from mcpcore_conformance.trace.book import id_key, named_revision
from mcpcore_conformance.trace.compare import same_but_hidden
from mcpcore_conformance.trace.dialogue import Router, Said, error_of, questions
from mcpcore_conformance.trace.players import config_for
from mcpcore_conformance.trace.reading import TraceFile
from mcpcore_transports.commands.options import MockOptions
from mcpcore_transports.commands.output import Exit, Failure, say
from mcpcore_transports.commands.serve import serve_with
from mcpcore_transports.link import Link
from mcpcore_transports.serve.assembling import Application, ServedRoute
from mcpcore_transports.server.settings import RuntimeSettings, ServerMachine

_SHOWN = 300
"""Characters of the params of a request that is missed."""
_INPUT = "input_required"
_PROGRESS, _LOG = "notifications/progress", "notifications/message"


class _Answer(Struct):
    """Answer of a server, and its era."""

    said: Said
    modern: bool
    before: list[Said]
    """Progress and log messages about the request, which came before it."""


class _Progress(Struct):
    progress: float
    total: float | None = None
    message: str | None = None


class _Logged(Struct):
    level: LoggingLevel
    data: Any = None
    logger: str | None = None


class _Question(Struct):
    """A request of the trace: its params, and its answers in the order in which they came."""

    params: dict[str, Any]
    answers: list[_Answer] = field(default_factory=list)


class Book(Struct):
    """The answers of a trace, by method and the params as canonical JSON."""

    questions: dict[str, dict[bytes, _Question]] = field(default_factory=dict)

    def add(self, asked: Said, answer: Said, before: list[Said]) -> None:
        """Keep an answer, with what came before it."""
        params = _essence(asked.params)
        key = msgspec.json.encode(params, order="sorted")
        same = self.questions.setdefault(asked.method, {}).setdefault(key, _Question(params))
        revision = named_revision(asked)
        modern = revision is not None and revision.modern
        same.answers.append(_Answer(answer, modern, before))

    def find(self, method: str, params: dict[str, Any]) -> _Question | None:
        """Return the question of a request; what is hidden in the trace may be anything."""
        of_method, wanted = self.questions.get(method, {}), _essence(params)
        found = of_method.get(msgspec.json.encode(wanted, order="sorted"))
        if found is not None:
            return found
        alike = (each for each in of_method.values() if same_but_hidden(each.params, wanted))
        return next(alike, None)


def _essence(params: dict[str, Any]) -> dict[str, Any]:
    """Return params without ``_meta``, and without members that are there and say nothing."""
    return {name: it for name, it in params.items() if name != "_meta" and it not in (None, {})}


def _is_about(said: Said, asked: Said) -> bool:
    """Return True if a notification of the server may be about an open request."""
    if said.key != asked.key:
        return False
    if said.method == _PROGRESS:
        token = asked.meta.get("progressToken")
        return token is not None and token == said.params.get("progressToken")
    return said.method == _LOG and (said.exchange is None or said.exchange is asked.exchange)


class Mock(Application, ServedRoute):
    """Server of a trace; serve it as a Server.

    ``missed``: requests to which the trace has no answer; ``tell`` is told of each.
    """

    def __init__(self, trace: TraceFile, tell: Callable[[str], None]) -> None:
        self.book = Book()
        self.missed = 0
        self.tell = tell
        self.routes = {None: self}
        self.info = Implementation(name="trace mock", version="1")
        self._instructions: str | None = None
        self._config = config_for(trace, trace.entries, "server")
        router = Router(trace.header)
        waiting: dict[tuple[Any, str], tuple[Said, list[Said]]] = {}
        for said in (each for entry in trace.entries for each in router.follow(entry)):
            if said.kind == "notification" and said.direction != TO_SERVER:
                about = [news for asked, news in waiting.values() if _is_about(said, asked)]
                if len(about) == 1:
                    about[0].append(said)
            if said.id is None:
                continue
            place = (said.key, id_key(said.id))
            if said.kind == "request" and said.direction == TO_SERVER:
                waiting[place] = said, []
            elif said.kind in ("result", "error") and said.direction != TO_SERVER:
                asked, news = waiting.pop(place, (None, []))
                if asked is not None and asked.message and said.message:
                    self.book.add(asked, said, news)
                    self._learn(said)

    def _learn(self, said: Said) -> None:
        """Find out who the server of the trace is."""
        own = said.result.get("serverInfo") or said.meta.get(META_SERVER_INFO)
        if own is not None:
            try:
                self.info = msgspec.convert(own, Implementation)
            except msgspec.ValidationError:
                return
        instructions = said.result.get("instructions")
        if isinstance(instructions, str):
            self._instructions = instructions

    def config(self, settings: RuntimeSettings) -> Config:
        """See :meth:`ServedRoute.config`: what the server of the trace has declared."""
        return structs.replace(
            self._config,
            info=self.info,
            instructions=self._instructions,
            revisions=settings.revisions,
            limits=settings.limits,
            extension_methods=ANY_EXTENSION,
        )

    def runtime(self, machine: ServerMachine, settings: RuntimeSettings) -> "MockRuntime":
        """See :meth:`ServedRoute.runtime`."""
        return MockRuntime(self, machine, settings)

    async def run(self, offer: Callable[[], Awaitable[float]], settings: RuntimeSettings) -> None:
        """See :meth:`Application.run`."""
        await offer()


class MockRuntime:
    """App of one machine of the clients of a mock."""

    def __init__(self, mock: Mock, machine: ServerMachine, settings: RuntimeSettings) -> None:
        self.link: Link | None = None
        self.settings = settings
        self._mock = mock
        self._machine = machine
        self._turns: dict[str | None, dict[int, int]] = {}
        """How often each question was asked: by a session, or by all that have none."""

    async def run(self, link_run: Callable[[], Awaitable[object]]) -> None:
        """Run the link to its end."""
        await link_run()

    def handle(self, event: Event) -> None:
        """Answer a request."""
        if isinstance(event, RequestReceived):
            try:
                self._answer(event)
            except (LocalError, ValueError, TypeError, msgspec.MsgspecError) as error:
                self._miss(
                    event, INTERNAL_ERROR, f"the answer of the trace cannot be given: {error}"
                )
        elif isinstance(event, RequestCancelled):
            self._machine.release(event.key)
        elif isinstance(event, SessionClosed):
            self._turns.pop(event.session, None)

    def _answer(self, event: RequestReceived) -> None:
        params = msgspec.json.decode(event.params or b"{}")
        question = self._mock.book.find(event.method, params if isinstance(params, dict) else {})
        if question is None:
            others = len(self._mock.book.questions.get(event.method, {}))
            why = f"with these params, only with {others} others" if others else "at all"
            self._miss(event, INVALID_PARAMS, f"the trace has no answer to {event.method} {why}")
            return
        turns = self._turns.setdefault(event.session, {})
        turn = turns.get(id(question), 0)
        turns[id(question)] = turn + 1
        answer = question.answers[min(turn, len(question.answers) - 1)]
        for each in answer.before:
            self._tell(event, each)
        self._give(event, answer.said, CELLS[event.revision.modern, answer.modern])

    def _tell(self, event: RequestReceived, said: Said) -> None:
        """Send progress or a log message, if the client asks for it."""
        params = said.params
        if said.method == _PROGRESS:
            news = msgspec.convert(params, _Progress)
            self._machine.progress(event.key, news.progress, news.total, news.message)
        else:
            logged = msgspec.convert(params, _Logged)
            self._machine.log(event.key, logged.level, logged.data, logged.logger)

    def _give(self, event: RequestReceived, said: Said, cell: Any) -> None:
        key, result = event.key, said.result
        if said.kind == "error":
            self._machine.fail(key, error_in(cell, event.method, error_of(said)))
        elif result.get("resultType") == _INPUT:
            if not event.revision.modern:
                raise ValueError("it asks for input in the way of 2026-07-28")
            asked = {
                name: InputRequest(method, params) for name, method, params in questions(result)
            }
            self._machine.require_input(key, asked, result.get("requestState"))
        else:
            body = Raw(msgspec.json.encode(result))
            self._machine.respond(key, result_in(cell, event.method, body))

    def _miss(self, event: RequestReceived, code: int, message: str) -> None:
        """Answer with an error, and say so."""
        self._mock.missed += 1
        shown = json.dumps(msgspec.json.decode(event.params or b"{}"))[:_SHOWN]
        self._mock.tell(f"MISSED: {message}; asked was {json.dumps(event.method)} {shown}")
        self._machine.fail(event.key, ErrorData(code, message))


def run(trace: TraceFile, options: MockOptions) -> int:
    """Serve a trace until a signal, or the end of standard input; return the exit status."""
    if options.workers > 1:
        raise Failure("--workers: which answer is next is known to one process", Exit.USAGE)
    mock = Mock(trace, say)
    status = serve_with(lambda: mock, options)
    if mock.missed:
        say(f"{mock.missed} requests had no answer in the trace")
    return Exit.REFUSED if status == Exit.OK and mock.missed else status
