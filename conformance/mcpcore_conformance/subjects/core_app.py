"""An application around a Peer without an event loop: handlers are functions or generators.

A generator yields what it waits for: :class:`Wait` (time) or :class:`Ask` (an answer of the client,
by a request in the legacy era, by a round of input in the modern one).
"""

import heapq
import inspect
import json
from collections.abc import Generator, Mapping
from itertools import count
from typing import Any, cast

from msgspec import Raw, Struct, ValidationError
from msgspec.json import decode as json_decode

from mcpcore import Peer, events
from mcpcore.engine.events import RequestReceived
from mcpcore.engine.input_rounds import InputRequest
from mcpcore.errors import ToolError
from mcpcore.service import Server
from mcpcore.service.handlers import Prepared
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, CapabilityMissing, McpError
from mcpcore.spec.methods import METHODS
from mcpcore_transports.schema import compile_schema


class Wait(Struct, frozen=True):
    """Go on after so many seconds."""

    seconds: float


class Ask(Struct, frozen=True):
    """Go on with the client's result."""

    key: str
    method: str
    params: dict[str, Any]


class Declined(ToolError):
    """The client answered a question with an error."""


Steps = Generator[Wait | Ask, Any, Any]
"""A handler that waits."""


class CoreContext:
    """What a handler may do besides returning a value."""

    __mcp_context__ = True

    def __init__(self, peer: Peer, event: RequestReceived) -> None:
        self.peer = peer
        self.event = event

    def progress(self, value: float, total: float | None = None) -> None:
        """Report progress, if the client asked for it."""
        self.peer.progress(self.event.key, value, total)

    def log(self, level: str, text: str) -> bool:
        """Send a log message, if the client wants it."""
        return self.peer.log(self.event.key, level, text)

    def wait(self, seconds: float) -> Wait:
        """Yield this to wait."""
        return Wait(seconds)

    def ask(self, key: str, method: str, **params: Any) -> Ask:
        """Yield this to get an answer of the client."""
        return Ask(key, method, params)


class _Running(Struct):
    event: RequestReceived
    prepared: Prepared
    steps: Steps


class CoreApp:
    """Answers a Peer's requests with the handlers of a server; time passes when it is told so."""

    def __init__(self, peer: Peer, server: Server) -> None:
        self.peer = peer
        self._server = server
        self._running: dict[int, _Running] = {}
        self._asked: dict[int | str, tuple[int, Ask]] = {}
        self._timers: list[tuple[float, int, int]] = []
        self._order = count()
        self._now = 0.0
        server.watch(self._publish)

    def close(self) -> None:
        """End what still runs."""
        self._server.unwatch(self._publish)
        for running in self._running.values():
            running.steps.close()
        self._running.clear()

    def turn(self, now: float) -> None:
        """Handle all events there are."""
        self._now = now
        while (event := self.peer.next_event()) is not None:
            match event:
                case events.RequestReceived():
                    self._begin(event)
                case events.RequestCancelled(key=key):
                    if (running := self._running.pop(key, None)) is not None:
                        running.steps.close()
                    self.peer.release(key)
                case events.ResultReceived(request=request, result=result):
                    self._settle(request, json.loads(bytes(result)), None)
                case events.ErrorReceived(request=request, error=error):
                    self._settle(request, None, Declined(error.message))
                case events.RequestEnded(request=request, message=message):
                    self._settle(request, None, Declined(message))

    def deadline(self) -> float | None:
        """When to call :meth:`pass_time` next."""
        times = [self.peer.deadline()]
        if self._timers:
            times.append(self._timers[0][0])
        return min((time for time in times if time is not None), default=None)

    def pass_time(self, now: float) -> None:
        """Do what is due."""
        self._now = now
        while self._timers and self._timers[0][0] <= now:
            _, _, key = heapq.heappop(self._timers)
            self._step(key, None, None)
        self.peer.handle_timeout(now)
        self.turn(now)

    def _publish(self, method: str, params: Struct | None) -> None:
        self.peer.notify(method, params)

    def _begin(self, event: RequestReceived) -> None:
        try:
            prepared = self._server.prepare(
                event.method,
                event.params,
                event.revision,
                event.principal,
                client=event.client_capabilities,
            )
        except McpError as error:
            self.peer.fail(event.key, error.error)
            return
        if prepared.result is not None:
            self.peer.respond(event.key, prepared.result)
            return
        try:
            value = prepared.call(CoreContext(self.peer, event))
            if inspect.isgenerator(value):
                self._running[event.key] = _Running(event, prepared, cast("Steps", value))
                self._step(event.key, None, None)
            else:
                self.peer.respond(event.key, prepared.finish(value), meta=prepared.meta)
        except Exception as error:
            self._fail(event, prepared, error)

    def _step(self, key: int, value: Any, error: Exception | None) -> None:
        running = self._running.get(key)
        if running is None:
            return
        try:
            while True:
                if error is not None:
                    step = running.steps.throw(error)
                else:
                    step = running.steps.send(value)
                if isinstance(step, Wait):
                    entry = (self._now + step.seconds, next(self._order), key)
                    heapq.heappush(self._timers, entry)
                    return
                given = _given(running.event.input_responses, step)
                if given is None:
                    self._ask(running, step)
                    return
                value, error = given, None
        except StopIteration as end:
            del self._running[key]
            try:
                self.peer.respond(key, running.prepared.finish(end.value))
            except Exception as problem:
                self._fail(running.event, running.prepared, problem)
        except Exception as problem:
            self._running.pop(key, None)
            self._fail(running.event, running.prepared, problem)

    def _ask(self, running: _Running, step: Ask) -> None:
        key = running.event.key
        if running.event.revision.input_rounds:
            self.peer.require_input(key, {step.key: InputRequest(step.method, step.params)})
            del self._running[key]
            running.steps.close()
            return
        identifier = self.peer.request(step.method, step.params, now=self._now, parent=key)
        self._asked[identifier] = key, step

    def _settle(self, request: int | str, result: Any, error: Exception | None) -> None:
        key, step = self._asked.pop(request, (None, None))
        if key is None or step is None:
            return
        if error is None:
            try:
                result = _checked(step, result)
            except Declined as declined:
                error = declined
        self._step(key, result, error)

    def _fail(self, event: RequestReceived, prepared: Prepared, error: Exception) -> None:
        if isinstance(error, CapabilityMissing):
            self.peer.fail(event.key, McpError(INVALID_PARAMS, str(error)).error)
            return
        try:
            self.peer.respond(event.key, prepared.failure(error))
        except McpError as shown:
            self.peer.fail(event.key, shown.error)
        except Exception:
            self.peer.fail(event.key, McpError(INTERNAL_ERROR, "Internal error").error)


def _given(responses: Mapping[str, Raw] | None, step: Ask) -> Any:
    """The answer that a retry has brought; None if it has not."""
    if responses is None or step.key not in responses:
        return None
    return _checked(step, json.loads(bytes(responses[step.key])))


def _checked(step: Ask, value: Any) -> Any:
    """A client's answer, if it is one to that question.  Raises Declined."""
    row = next(each for each in METHODS if each.name == step.method)
    assert row.result is not None
    try:
        json_decode(json.dumps(value), type=row.result)
    except ValidationError as error:
        raise Declined(f"the client's answer is wrong: {error}") from error
    form = step.params.get("requestedSchema")
    if form is not None and value["action"] == "accept":
        faults = compile_schema(form)(value.get("content"))
        if faults:
            raise Declined(f"the client's answer does not fit the form: {faults[0]}")
    return value
