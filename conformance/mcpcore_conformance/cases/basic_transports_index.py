"""Cases of the page basic/transports/index: what every binding has to carry."""

import json

from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.endpoint import SINCE_STREAMABLE
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import encode, request
from mcpcore_conformance.kit.model import MODERN, ONE_CHANNEL, Page
from mcpcore_conformance.kit.probes import headers_as_for
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.talk import OpenLink, ServerTalk
from mcpcore_conformance.kit.trying import asker
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/transports/index")
case = page.server(SINCE_STREAMABLE)
messages = case.at("messages")

SAMPLES = (
    "\u00e4\u00f6\u00fc\u00df",
    "\u4e16\u754c",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u0000\u0001\u001f\u007f",
    "\u2028\u2029\ufeff\ufffd\uffff",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u202etluser\u202c",
    'quote " and \\ and / and \t',
)
"""Strings with characters of every kind."""


async def echoed(link: Link, payload: bytes, identifier: str) -> None:
    """Check that a request is answered with its id, character by character."""
    spoilt = link.spoilt
    sent = await link.say(payload, headers=headers_as_for(link, link.plain))
    reply = await link.reply(Sent(identifier, sent.exchange, link.plain))
    check(reply.good, f"a request with the id {identifier!r} got {reply}")
    assert reply.message is not None
    found = reply.message.id
    check(found == identifier, f"the id {identifier!r} came back as {found!r}")
    link.spoilt = spoilt


@messages.must("Every character comes back as it was sent, in UTF-8.")
async def utf_8(link: OpenLink) -> None:
    """Messages are UTF-8, both ways."""
    for sample in SAMPLES:
        await echoed(link, encode(_request(link, sample)), sample)


@messages.must("An escape is the character that it stands for.")
async def escapes(link: OpenLink) -> None:
    """Characters that are escaped in JSON are the same characters."""
    for sample in SAMPLES:
        await echoed(link, json.dumps(_request(link, sample)).encode(), sample)


def _request(link: Link, identifier: str) -> dict[str, object]:
    return request(identifier, link.plain, link.params({}))


@messages.must(
    "The server sends responses and notifications only.", MODERN, needs=("found:question",)
)
async def directions(talk: ServerTalk) -> None:
    """A server sends no requests, on whatever binding."""
    which = await asker(talk, "question", "test_streaming_elicitation")
    link = await talk.open()
    params = {**which.params, "_meta": {"progressToken": "kit"}}
    reply = await link.request(which.method, params)
    asked = [each.method for each in link.asked]
    check(not asked, f"the server sent the requests {asked}")
    check(reply.result.get("resultType") is not None, f"the call got {reply}")
    link.inbox = [each for each in link.inbox if each.method != "notifications/progress"]


@case.must(
    "custom-transports",
    "Each connection gets its own answers, though both use the same ids.",
    bindings=ONE_CHANNEL,
)
async def connections_apart(talk: ServerTalk) -> None:
    """Two connections are two conversations."""
    one, other = await talk.connect(), await talk.connect()
    for link in (one, other):
        if link.revision.handshake:
            await link.initialize()
    ids = [f"same-{number}" for number in range(3)]
    sent = [
        (link, await link.send(link.plain, {}, id=each)) for each in ids for link in (one, other)
    ]
    for link, each in sent:
        reply = await link.reply(each)
        check(reply.message is not None, f"the request {each.id!r} got {reply}")
    for link in (one, other):
        await link.alive()
        for way in (Unasked.TWICE, Unasked.UNKNOWN):
            check(way not in link.account.found, link.account.found.get(way, ""))
