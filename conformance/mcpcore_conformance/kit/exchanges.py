"""Plain HTTP exchanges, whose bodies need not be messages: for what comes before the protocol."""

import json
from typing import Any

from msgspec import Struct

from mcpcore_conformance.kit.headers import for_message
from mcpcore_conformance.kit.heard import Done, Gone, Head, Headers, Text, header
from mcpcore_conformance.kit.link import BUSY, TOO_MANY, Link
from mcpcore_conformance.kit.messages import encode, notification, request
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive


class Response(Struct):
    """Response to an exchange."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """A header, by its name in lower case."""
        return header(self.headers, name)

    def json(self) -> Any:
        """The body; None if it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


async def response(link: Link, exchange: int) -> Response:
    """Wait for the end of an exchange, or for the head of an event stream."""
    head: Head | None = None
    body = b""
    while (heard := await link.wire.hear(link.talk.timing.answer)) is not None:
        if isinstance(heard, Gone):
            raise Broken(f"the connection is gone ({heard.reason})")
        if heard.exchange != exchange:
            continue
        if isinstance(heard, Head):
            head = heard
            if "event-stream" in (header(heard.headers, "content-type") or ""):
                break
        elif isinstance(heard, Text):
            body += heard.data
        elif isinstance(heard, Done):
            body += heard.body
            break
    if head is None:
        raise Broken("there was no HTTP response")
    if head.status == TOO_MANY:
        raise Inconclusive(BUSY)
    return Response(head.status, head.headers, body)


def first_message(link: Link) -> bytes:
    """The first message of a client: initialize, or server/discover."""
    if link.revision.handshake:
        return encode(request(1, "initialize", link.opening()))
    return encode(request(1, "server/discover", link.params()))


def any_notification() -> bytes:
    """A notification of a client."""
    return encode(notification("notifications/cancelled", {"requestId": 0}))


async def post(
    link: Link, payload: bytes, headers: Headers | None = None, target: str | None = None
) -> Response:
    """POST a message with the headers that it owes, and some more."""
    wire = link.talk.http(link)
    made = [*for_message(payload, link.revision, False).items(), *(headers or [])]
    exchange = await wire.fetch("POST", target=target, headers=made, body=payload)
    return await response(link, exchange)


async def fetch(link: Link, method: str) -> Response:
    """Send a request without a body."""
    accept = [("accept", "application/json, text/event-stream")]
    return await response(link, await link.talk.http(link).fetch(method, headers=accept))


async def visit(link: Link, url: str) -> Response:
    """GET what is at a URL, on any host."""
    return await response(link, await link.talk.http(link).visit(url))
