"""One side of a trace, played by the core: what that side said is asked of it, the rest is fed.

The core chooses ids and tokens of its own; they are matched to those of the trace by what they
were used for, and exchanged in what is fed.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec
from msgspec import Raw, Struct, field

from mcpcore.engine.events import Event, Key, RequestCancelled, RequestReceived
from mcpcore.engine.input_rounds import InputRequest
from mcpcore.spec.errors import ErrorData, LocalError
from mcpcore.spec.types.base import META_PREFIX
from mcpcore.wire.jsontext import Body
from mcpcore.wire.message import RequestId
from mcpcore_conformance.trace.book import id_key
from mcpcore_conformance.trace.dialogue import Said, error_of, questions

_INITIALIZED = "notifications/initialized"


class Machine(Protocol):
    """What a Peer, an HttpServer and an HttpClient have in common."""

    def respond(self, key: Key, result: Body) -> bool:
        """Answer a request."""

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Answer a request with an error."""

    def release(self, key: Key) -> None:
        """The handler of a cancelled request has ended."""

    def progress(
        self, key: Key, value: float, total: float | None = None, message: str | None = None
    ) -> bool:
        """Report progress of a request."""

    def cancel(self, request: RequestId, *, now: float, reason: str | None = None) -> None:
        """Give up a request."""

    def next_event(self) -> Event | None:
        """Advance."""

    def deadline(self) -> float | None:
        """When ``handle_timeout`` is due."""

    def handle_timeout(self, now: float) -> None:
        """Let time pass."""


class Own(Struct):
    """A message that the core made."""

    kind: str
    method: str = ""
    id: Any = None
    token: Any = None
    text: bytes = b""

    @classmethod
    def of(cls, text: bytes) -> "list[Own]":
        """Read what the core says; a batch gives several."""
        decoded = msgspec.json.decode(text)
        return [cls._one(each, text) for each in (decoded if type(decoded) is list else [decoded])]

    @classmethod
    def _one(cls, message: dict[str, Any], text: bytes) -> "Own":
        meta = (message.get("params") or {}).get("_meta") or {}
        method = message.get("method", "")
        kind = "error" if "error" in message else "result"
        if method:
            kind = "request" if "id" in message else "notification"
        return cls(kind, method, message.get("id"), meta.get("progressToken"), text)

    def __str__(self) -> str:
        parts = [self.kind, self.method, "" if self.id is None else f"id={id_text(self.id)}"]
        return " ".join(filter(None, parts))


class Actor(Struct):
    """What is known of a core that plays ``side``."""

    machine: Any
    side: str
    keys: dict[str, Key] = field(default_factory=dict)
    """Requests that it has received and not answered, by id."""
    tokens: dict[str, Key] = field(default_factory=dict)
    """The same by progress token."""
    ids: dict[str, Any] = field(default_factory=dict)
    """Ids of the trace to those that the core uses for the same requests."""
    own_tokens: dict[str, Any] = field(default_factory=dict)
    unsaid: list[Own] = field(default_factory=list)
    """What the core has said and the trace has not."""
    session: str | None = None
    """The session of the last request, where the core has several."""
    remarks: list[str] = field(default_factory=list)
    """What was noticed since they were last taken."""

    # What our side said

    def act(self, said: Said, now: float) -> None:
        """Have the core say what the trace says."""
        try:
            if said.kind == "request":
                self._ask(said, now)
            elif said.kind == "notification":
                self._notify(said, now)
            elif said.kind in ("result", "error"):
                self._answer(said)
            else:
                self.remarks.append(f"a core does not say what is {said.kind}")
        except (LocalError, ValueError, TypeError, msgspec.MsgspecError) as error:
            self.remarks.append(f"the core does not say this: {error}")

    def _ask(self, said: Said, now: float) -> None:
        match = self._match("request", said.method)
        if match is None:
            params, meta = self._params(said)
            self.request(said, params, meta, "progressToken" in said.meta, now)
            return
        self.ids[id_key(said.id)] = match.id
        self._learn_token(said, match)

    def asked(self, said: Said, identity: RequestId) -> None:
        """The core has been asked to send a request of the trace."""
        self.ids[id_key(said.id)] = identity

    def request(
        self, said: Said, params: Raw, meta: dict[str, Any] | None, progress: bool, now: float
    ) -> None:
        """Send a request; for the kind of machine to say."""
        identity = self.machine.request(
            said.method, params, now=now, meta=meta, progress=progress, force=True
        )
        self.asked(said, identity)

    def notify(self, said: Said, params: Raw, meta: dict[str, Any] | None) -> None:
        """Send a notification; for the kind of machine to say."""
        if self.machine.notify(said.method, params, meta=meta) is False:
            self.remarks.append("the core does not say this")

    def _notify(self, said: Said, now: float) -> None:
        method, params = said.method, said.params
        if self._match("notification", method) is not None:
            return
        if method == "notifications/cancelled":
            own = self.ids.get(id_key(params.get("requestId")))
            if own is None:
                self.remarks.append("the core has no such request to cancel")
            else:
                self.machine.cancel(own, now=now, reason=params.get("reason"))
        elif method == "notifications/progress":
            key = self.tokens.get(id_key(params.get("progressToken")))
            if key is None or not self.machine.progress(
                key, params.get("progress", 0), params.get("total"), params.get("message")
            ):
                self.remarks.append("the core does not say this: nobody waits for it")
        elif method == "notifications/message":
            self._log(said)
        elif method == _INITIALIZED:
            self.remarks.append("the core says this by itself, when it is time")
        else:
            self.notify(said, *self._params(said))

    def _log(self, said: Said) -> None:
        if self.side == "client":
            self.remarks.append("the core does not say this: a client does not log")
            return
        params = said.params
        level, data, logger = params.get("level", ""), params.get("data"), params.get("logger")
        about = self.about(said)
        # In the era without sessions it belongs to a request, and only HTTP tells to which.
        for key in [about] if about is not None else [None, *self.keys.values()]:
            if self.machine.log(key, level, data, logger):
                return
        self.remarks.append("the core does not say this: nobody asked for it")

    def about(self, said: Said) -> Key | None:
        """The request on whose stream something is said, as far as one can tell."""
        asked = said.exchange.asked if said.exchange is not None else []
        keys = [self.keys.get(id_key(each.id)) for each in asked]
        return next((key for key in keys if key is not None), None)

    def _answer(self, said: Said) -> None:
        key = self.keys.pop(id_key(said.id), None)
        if key is None:
            self._compare(said)
            return
        if said.kind == "error":
            sent = self.machine.fail(key, error_of(said))
        elif said.result.get("resultType") == "input_required":
            asked = {
                name: InputRequest(method, params)
                for name, method, params in questions(said.result)
            }
            sent = self.machine.require_input(key, asked, said.result.get("requestState"))
        else:
            sent = self.machine.respond(key, Raw(msgspec.json.encode(said.result)))
        if not sent:
            self.remarks.append("the core drops this: it was cancelled")
            self.machine.release(key)

    def _compare(self, said: Said) -> None:
        """An answer that the core gives by itself, or should not give."""
        for own in self.unsaid:
            if own.kind in ("result", "error") and own.id == said.id:
                self.unsaid.remove(own)
                if own.kind != said.kind:
                    self.remarks.append(f"the core says {own.kind} where the trace has {said.kind}")
                return
        self.remarks.append("the core has no such request to answer")

    def _match(self, kind: str, method: str) -> Own | None:
        for own in self.unsaid:
            if own.kind == kind and own.method == method:
                self.unsaid.remove(own)
                return own
        return None

    def _params(self, said: Said) -> tuple[Raw, dict[str, Any] | None]:
        params = {name: value for name, value in said.params.items() if name != "_meta"}
        meta = {
            name: value
            for name, value in said.meta.items()
            if name != "progressToken" and not name.startswith(META_PREFIX)
        }
        return Raw(msgspec.json.encode(params)), meta or None

    def _learn_token(self, said: Said, own: Own) -> None:
        if own.token is not None and "progressToken" in said.meta:
            self.own_tokens[id_key(said.meta["progressToken"])] = own.token

    # What the other side said

    def translated(self, said: Said) -> bytes:
        """A message of the other side, with the ids and tokens of the core."""
        message = said.message
        if message is None:
            return said.record.payload
        changed = dict(message)
        if said.kind in ("result", "error") and "id" in message:
            changed["id"] = self.ids.get(id_key(message["id"]), message["id"])
        params = message.get("params")
        if said.kind == "notification" and isinstance(params, dict):
            changed["params"] = self._own_names(params)
        if changed == message and not said.batch:
            return said.record.payload
        return msgspec.json.encode(changed)

    def _own_names(self, params: dict[str, Any]) -> dict[str, Any]:
        changed = dict(params)
        if "progressToken" in params:
            token = params["progressToken"]
            changed["progressToken"] = self.own_tokens.get(id_key(token), token)
        subscription = META_PREFIX + "subscriptionId"
        meta = params.get("_meta")
        if isinstance(meta, dict) and subscription in meta:
            own = self.ids.get(id_key(meta[subscription]), meta[subscription])
            changed["_meta"] = {**meta, subscription: own}
        return changed

    # What comes of it

    def events(self) -> Iterator[Event]:
        """Advance the core; what it tells."""
        while (event := self.machine.next_event()) is not None:
            if isinstance(event, RequestReceived):
                self.keys[id_key(event.id)] = event.key
                self.session = event.session
                if event.meta.progress_token:
                    self.tokens[id_key(event.meta.progress_token)] = event.key
            elif isinstance(event, RequestCancelled):
                self.machine.release(event.key)
                self.keys = {name: key for name, key in self.keys.items() if key != event.key}
            yield event

    def made(self, texts: list[bytes], said: Said | None) -> list[Own]:
        """The core has made these messages, in the step in which the trace said ``said``."""
        made = [own for text in texts for own in Own.of(text)]
        for own in made:
            if said is not None and self._is_that(own, said):
                if own.kind == "request":
                    self.ids[id_key(said.id)] = own.id
                    self._learn_token(said, own)
                said = None
            else:
                self.unsaid.append(own)
        return made

    def _is_that(self, own: Own, said: Said) -> bool:
        if own.kind != said.kind:
            return False
        return own.method == said.method if own.method else own.id == said.id


def id_text(value: Any) -> str:
    """An id as JSON has it."""
    return msgspec.json.encode(value).decode()
