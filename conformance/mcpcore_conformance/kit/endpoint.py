"""A Streamable HTTP endpoint as cases see it: requests, each with everything that came of it."""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from msgspec import Struct

from mcpcore_conformance.kit.heard import Done, Event, Head, header
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Kind, Message, encode, request
from mcpcore_conformance.kit.model import (
    LEGACY_SINCE_2025_03_26,
    LEGACY_SINCE_2025_06_18,
    ONLY_2025_11_25,
    SINCE_2025_03_26,
)
from mcpcore_conformance.kit.probes import plain_request
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check, need
from mcpcore_conformance.kit.watched import Watched
from mcpcore_conformance.kit.wire import Overrides, Plain, Poured

SINCE_STREAMABLE = SINCE_2025_03_26
"""The revisions that define Streamable HTTP."""
WITH_SESSIONS = LEGACY_SINCE_2025_03_26
"""Revisions with sessions, GET streams and resumption."""
WITH_VERSION_HEADER = LEGACY_SINCE_2025_06_18
"""Revisions in which a version is agreed on and a header repeats it."""
WITH_PRIMING = ONLY_2025_11_25
OK, ACCEPTED, BAD_REQUEST, NOT_FOUND, METHOD_NOT_ALLOWED = 200, 202, 400, 404, 405
CLIENT_ERRORS = range(400, 500)
SERVER_ERRORS = range(500, 600)
KINDS = ("application/json", "text/event-stream")
EVENT_STREAM = KINDS[1]
BEGINNING = 1.5
"""Seconds in which a call that reports its progress does so, where it can."""


class Answer(Struct):
    """Messages and state of one HTTP request, up to now."""

    exchange: int
    head: Head | None = None
    messages: list[Message] = []
    events: list[Event] = []
    done: Done | None = None

    @property
    def status(self) -> int:
        """The status; 0 if no response came."""
        return 0 if self.head is None else self.head.status

    @property
    def kind(self) -> str:
        """The media type, without its parameters."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @property
    def streams(self) -> bool:
        """True if the response is an event stream."""
        return self.status == OK and self.kind == EVENT_STREAM

    @property
    def body(self) -> bytes:
        """A body that is no message."""
        return b"" if self.done is None else self.done.body

    @property
    def refused(self) -> bool:
        """A status of 400 or more."""
        return self.status >= BAD_REQUEST

    @property
    def code(self) -> int | None:
        """The code of the JSON-RPC error that it brought."""
        errors = [each for each in self.messages if each.kind is Kind.ERROR]
        return errors[0].code if errors else None

    @property
    def result(self) -> dict[str, Any] | None:
        """The result that it brought."""
        return next((each.result for each in self.messages if each.kind is Kind.RESULT), None)

    def header(self, name: str) -> str | None:
        """A header, by its name in lower case."""
        return None if self.head is None else header(self.head.headers, name)

    def __str__(self) -> str:
        if self.head is None:
            return "no response"
        said = f"status {self.status}"
        if self.code is not None:
            return f"{said} with the error {self.code}"
        if self.result is not None:
            return f"{said} with a result"
        return said


class Endpoint:
    """Conversation over HTTP, request by request."""

    def __init__(self, talk: ServerTalk, link: Link) -> None:
        self.talk = talk
        self.link = link
        self.wire = talk.http(link)

    @property
    def plain(self) -> str:
        """A method that every server answers once a conversation is open."""
        return plain_request(self.link)

    def message(
        self, method: str = "", params: dict[str, Any] | None = None, *, id: Any = None
    ) -> dict[str, Any]:
        """A complete request; by default a plain one that every server answers."""
        identifier = self.link.id() if id is None else id
        return request(identifier, method or self.plain, self.link.params(params or {}))

    async def post(self, value: Any, *, headers: Overrides | None = None) -> Answer:
        """Send a message (or bytes) as a client does, and wait for the end of the response."""
        sent = await self.link.say(value, headers=headers)
        return await self.answer(sent.exchange)

    async def call(self, what: Watched, token: str, *, id: Any = None) -> Sent:
        """Make a request that was found, or is known, with a token for its progress."""
        message = self.message(what.method, what.asking(token), id=id)
        return await self.link.say(message)

    async def fetch(
        self,
        method: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        target: str | None = None,
    ) -> Answer:
        """Send one request with these headers only, and wait for the end of the response."""
        exchange = await self.wire.fetch(method, headers=headers, body=body, target=target)
        if method == "POST" and body is not None and not self.link.coming_back.by_hand:
            self.link.coming_back.posted(exchange, body)
        return await self.answer(exchange)

    async def open(
        self,
        last_event_id: str | None = None,
        *,
        headers: Sequence[tuple[str, str]] | None = None,
        whole: bool = False,
    ) -> Answer:
        """GET an event stream; returns when the head is there.

        ``whole``: it is that of a request, and is picked up again where it ends without an answer.
        """
        if headers is None:
            exchange = await self.wire.listen(last_event_id)
        else:
            exchange = await self.wire.fetch("GET", headers=headers)
        if whole and last_event_id is not None:
            self.link.coming_back.picked_up(exchange, last_event_id)
        await self.link.until(
            lambda: self.link.heads.get(exchange) or self.link.ended.get(exchange)
        )
        return self.so_far(exchange)

    async def delete(self, session: str | None, *extra: tuple[str, str]) -> Answer:
        """DELETE a session."""
        own = [each for each in self.wire.headers_for(None) if each[0] != "mcp-session-id"]
        mine = [] if session is None else [("mcp-session-id", session)]
        replaced = {name for name, _ in extra}
        kept = [each for each in own if each[0] not in replaced]
        return await self.fetch("DELETE", headers=[*kept, *mine, *extra])

    async def answer(self, exchange: int, within: float | None = None) -> Answer:
        """Wait for the end of a response, also of one that the server gives in several parts.

        Raises Slow as :meth:`~mcpcore_conformance.kit.link.Link.reply` does.
        """
        ended = await self.link.until(lambda: self.link.ended.get(exchange), within, of=exchange)
        found = self.so_far(exchange)
        self.link.check_let_in(exchange)
        waits = not ended and self.link.gone is None and within is None
        if waits and found.code is None and found.result is None:
            await self.link.check_pace(self.link.offers.get(exchange))
        return found

    def so_far(self, exchange: int) -> Answer:
        """Return the messages and the state of a request so far."""
        mine = [each for each in self.link.inbox if each.source.exchange == exchange]
        return Answer(
            exchange,
            self.link.heads.get(exchange),
            mine,
            [each for each in self.link.events if each.exchange == exchange],
            self.link.ended.get(exchange),
        )

    async def begun(self, exchange: int) -> None:
        """Wait until a call shows on its stream that it runs; with JSON it cannot."""
        await self.link.until(
            lambda: self.link.ended.get(exchange) or self.so_far(exchange).messages, BEGINNING
        )
        need(self.so_far(exchange).streams, "the server does not answer with an event stream")

    # Bytes

    def head_lines(self, payload: bytes | None) -> list[bytes]:
        """The header lines that a message goes with, Host and framing not among them."""
        try:
            message = json.loads(payload or b"null")
        except (ValueError, RecursionError):
            message = None
        found = [*self.wire.headers_for(payload), *self.link.mirrors(message).items()]
        return [f"{name}: {value}".encode() for name, value in found]

    def bytes_of(
        self,
        payload: bytes | None,
        *extra: bytes,
        method: str = "POST",
        target: str | None = None,
        host: bytes | None = b"",
        length: bool = True,
        lines: Iterable[bytes] | None = None,
        body: bytes | None = None,
    ) -> bytes:
        """A request as bytes; ``extra`` are more header lines.

        ``host``: its value (None: no such line), ``length``: with a Content-Length, ``lines``
        take the place of the message's own, ``body`` that of the payload behind the head.
        """
        made = [f"{method} {target or self.wire.path} HTTP/1.1".encode()]
        if host is not None:
            made.append(b"Host: " + (host or self.wire.authority.encode()))
        made += self.head_lines(payload) if lines is None else lines
        if payload is not None and length:
            made.append(b"Content-Length: %d" % len(payload))
        made += extra
        return b"\r\n".join([*made, b"", b""]) + ((payload or b"") if body is None else body)

    def plain_payload(self, id: Any = None) -> bytes:
        """A plain request that every server answers, as bytes."""
        return encode(self.message(id=id))

    async def pour(self, *pieces: bytes, **options: Any) -> Poured:
        """Call ``pour``, with the timeout for an answer."""
        return await self.wire.pour(*pieces, first=self.talk.timing.answer, **options)


async def endpoint(talk: ServerTalk, *, by_hand: bool = False, **options: Any) -> Endpoint:
    """Open a conversation over HTTP; ``by_hand``: the case looks at its streams itself."""
    link = await talk.open(**options)
    link.coming_back.by_hand |= by_hand
    return Endpoint(talk, link)


OpenEndpoint = Annotated[Endpoint, endpoint]


def final(found: Poured) -> list[Plain]:
    """The responses without the interim ones."""
    return [each for each in found.responses if each.status >= OK]


def check_refused(answer: Answer, what: str, *statuses: int) -> None:
    """Check that something was refused, with one of these statuses if there are any."""
    wanted = f"status {' or '.join(map(str, statuses))}" if statuses else "a refusal"
    there = answer.status in statuses if statuses else answer.status in CLIENT_ERRORS
    check(there, f"{what} got {answer}, not {wanted}")


def check_served(answer: Answer, what: str) -> None:
    """Check that a request got its result."""
    check(answer.status == OK and answer.result is not None, f"{what} got {answer}, not its result")
