"""A plain conversation with a client, on which nothing wrong is said: what is unasked shows."""

from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.verdicts import check

QUESTIONS = 3


async def check_client(talk: ClientTalk, *ways: Unasked) -> None:
    """Ping a client that makes a call, serve what it asks, and check that nothing came so.

    The kit has nothing but tools.
    """
    talk.serving.capabilities = {"tools": {}}
    link = await talk.open()
    message = await link.expect("tools/call")
    for _ in range(QUESTIONS):
        await link.ask("ping", about=message)
    await link.serve_one(message)
    await talk.finished()
    found = link.account.found
    for way in ways:
        check(way not in found, found.get(way, ""))
