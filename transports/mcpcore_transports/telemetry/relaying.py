"""Spans and durations of the requests that a gateway relays."""

from typing import Any

import msgspec
from msgspec import Raw, structs
from opentelemetry import propagate

from mcpcore.engine.events import Key, RequestReceived
from mcpcore.spec.errors import ErrorData
from mcpcore.spec.methods import KNOWN_METHODS
from mcpcore_transports.client.middleware import Outcome
from mcpcore_transports.server.settings import ServerMachine
from mcpcore_transports.telemetry.requests import (
    CALL,
    TOOL_ERROR,
    ObservedRequest,
    RequestInstruments,
    parent_of,
)

_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.encode


class RelayedRequests:
    """Requests at one machine of a gateway; it takes the relay's answers in the machine's place.

    The span of a request is the child of the client's, and the parent of the server's behind it.
    """

    def __init__(self, instruments: RequestInstruments, machine: ServerMachine) -> None:
        self._instruments = instruments
        self._machine = machine
        self._open: dict[Key, ObservedRequest] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)

    def begin(self, event: RequestReceived) -> RequestReceived:
        """Begin a span; return the request with its context in ``_meta``."""
        parent = parent_of(event.meta)
        operation = ObservedRequest(
            *(self._instruments, event.method, event.revision.name, event.skim),
            *(event.id, event.session, parent),
        )
        operation.unknown = event.method not in KNOWN_METHODS
        self._open[event.key] = operation
        passed: dict[str, str] = {}
        propagate.inject(passed, operation.context)
        if not passed:
            return event
        members = _decode_members(event.params)
        meta = _decode_members(members.get("_meta", Raw(b"{}")))
        meta |= {name: Raw(_encode(value)) for name, value in passed.items()}
        params = Raw(_encode({**members, "_meta": meta}))
        return structs.replace(event, params=params)

    def end(self, key: Key, error: ErrorData | None = None, *, cancelled: bool = False) -> None:
        """End the span of a request, if it is open."""
        operation = self._open.pop(key, None)
        if operation is None:
            return
        if error is not None:
            operation.refused(error.code, error.message)
        elif cancelled:
            operation.cancelled()
        operation.end()

    def close(self) -> None:
        """End all spans, as the machine has ended."""
        for key in tuple(self._open):
            self.end(key, cancelled=True)

    # What the relay answers with

    def respond(self, key: Key, result: Raw, **more: Any) -> Any:
        """Answer with a result."""
        operation = self._open.get(key)
        if operation is not None and operation.method == CALL and Outcome(Raw(result)).failed:
            operation.failed(TOOL_ERROR)
        self.end(key)
        return self._machine.respond(key, result, **more)

    def fail(self, key: Key, error: ErrorData) -> Any:
        """Answer with an error."""
        self.end(key, error)
        return self._machine.fail(key, error)

    def require_input(self, key: Key, *wanted: Any, **more: Any) -> Any:
        """Answer with questions, which end this round of the request."""
        self.end(key)
        return self._machine.require_input(key, *wanted, **more)

    def admit(self, key: Key) -> Any:
        """Let the engine answer, or open the stream that was asked for."""
        self.end(key)
        return self._machine.admit(key)
