"""Cases of the page basic/index: brackets a million deep."""

from typing import Any

from msgspec import UNSET

from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import encode, request
from mcpcore_conformance.kit.model import Binding, Page
from mcpcore_conformance.kit.probes import headers_as_for, outcome, plain_request
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, check

page = Page("basic/index")

LEVELS = 1_000_000
"""Brackets in each other: more than any stack holds, and few enough for most limits of size."""
NUMBER = 0x626F6D62
"""The id of the requests that have them."""
CLOSING = (Binding.WS, Binding.TCP, Binding.UNIX)
"""Where a message that is too large may end the connection."""
BOMBS = {
    "arrays in each other": ("[", "", "]"),
    "objects in each other": ('{"a":', "1", "}"),
    "arrays that nobody closes": ("[", "", ""),
}


def _bomb(link: Link, opening: str, middle: str, closing: str) -> bytes:
    found: Any = link.params()
    params = {**({} if found is UNSET or found is None else found), "bomb": "MARK"}
    text = encode(request(NUMBER, plain_request(link), params))
    value = opening * LEVELS + middle + closing * LEVELS
    return text.replace(b'"MARK"', value.encode())


@page.server().should(
    "messages/bottomless",
    "An answer, an error, HTTP status 413 or the end of a WebSocket; then it goes on.",
)
async def bottomless(talk: ServerTalk) -> None:
    """A request with a million brackets within each other in its params does no harm."""
    for what, parts in BOMBS.items():
        link = await talk.open()
        spoilt = link.spoilt
        sent = await link.say(
            _bomb(link, *parts), headers=headers_as_for(link, plain_request(link))
        )
        sent.id = NUMBER
        try:
            reply = await outcome(link, sent, owed=False)
        except Broken:
            if link.gone is None:
                raise
            reply = Reply(sent, gone=link.gone)
        check((reply.status or 0) < 500, f"{what} got HTTP status {reply.status}")
        if reply.gone is not None:
            check(talk.binding in CLOSING, f"{what} ended the connection ({reply})")
            link = await talk.open()
        link.spoilt = spoilt
        await link.alive()
