"""Replies that an HTTP server may give to an exchange."""

from collections import Counter
from typing import Any

from msgspec import UNSET

from mcpcore import Message, SseDecoder, decode
from tests.fuzz import messages
from tests.fuzz.messages import Identity
from tests.http.support import Reply

STATUSES = {200, 202, 204, 400, 403, 404, 405, 406, 409, 413, 415}
"""What a client may be told at any time."""
BUSY = 503
"""... and at a limit, while the server closes, and where its store fails."""


def check(reply: Reply, body: bytes, *, left: bool) -> None:
    """What a reply may be."""
    if reply.head is None:
        assert left
        return
    assert reply.status == BUSY or reply.status in STATUSES, reply
    assert messages.SECRET.encode() not in reply.body
    names = [name for name, _ in reply.head.headers]
    assert all(name == name.lower() for name in names)
    assert names.count(b"content-length") <= 1
    for _, value in reply.head.headers:
        assert not set(value) & set(b"\r\n\0")
    if left:
        return
    assert reply.end is not None, "a reply without an end"
    found = parts(reply)
    answers = Counter(messages.identity(part.get("id")) for part in found if "method" not in part)
    owed = asked_for(body)
    if reply.status == 200 and body and b"json" in kind(reply):
        for id, count in answers.items():
            nameless = id == messages.identity(None)
            assert count <= owed[id] or nameless, f"nobody has asked for {id}"
        assert isinstance(decode(body), list) or len(found) == 1, "one answer for one request"


def asked_for(body: bytes) -> Counter[Identity]:
    """How often an answer to each id is owed for a body."""
    frame = decode(body)
    return Counter(
        messages.identity(part.id)
        for part in (frame if isinstance(frame, list) else [frame])
        if not isinstance(part, Message) or (part.method is not UNSET and part.id is not UNSET)
    )


def kind(reply: Reply) -> bytes:
    """What it says that its body is."""
    assert reply.head is not None
    return dict(reply.head.headers).get(b"content-type", b"")


def parts(reply: Reply) -> list[Any]:
    """The messages in a reply."""
    return [part for text in _texts(reply) for part in _parts(text)]


def _texts(reply: Reply) -> list[bytes]:
    if b"event-stream" in kind(reply):
        return [event.payload for event in SseDecoder().receive(reply.body) if event.payload]
    return [reply.body] if b"json" in kind(reply) and reply.body else []


def _parts(text: bytes) -> list[Any]:
    found = messages.read_ours(text)
    return found if isinstance(found, list) else [found]
