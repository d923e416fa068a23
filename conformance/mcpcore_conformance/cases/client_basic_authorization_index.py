"""Cases of the page basic/authorization/index for clients: what becomes of a token."""

from mcpcore.spec.revisions import BY_NAME, LATEST, Span
from mcpcore_conformance.kit.client_steps import SCRIPT, call, listing, script
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.model import MAY, MUST, STREAMABLE, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/authorization/index")

SINCE_2025_03_26 = Span(BY_NAME["2025-03-26"], LATEST)
TOKEN = "Bearer kit-0123456789abcdef"  # noqa: S105 - made up
HEADERS = {"Authorization": TOKEN}


@page.client(
    MUST,
    "token-requirements/client-every-request",
    SINCE_2025_03_26,
    bindings=STREAMABLE,
    scenario="script",
    context=script(listing(), call(), headers=HEADERS),
    needs=SCRIPT,
    expects="Authorization on every POST, GET and DELETE, and no token in a URI.",
)
async def every_request(talk: ClientTalk) -> None:
    """A token goes with every request to the server."""
    link = await talk.open()
    await talk.finished()
    for asked in link.asked:
        found = header(asked.headers, "authorization")
        check(found == TOKEN, f"{asked.method} came with Authorization {found!r}")
    for asked in (*link.asked, *link.strays):
        check("kit-0123" not in asked.target, f"the token is part of {asked.target}")


@page.client(
    MUST,
    "token-handling/client-not-elsewhere",
    SINCE_2025_03_26,
    bindings=STREAMABLE,
    scenario="script",
    context=script(call(timeout=5), headers=HEADERS),
    needs=SCRIPT,
    expects="No request to the other origin carries the token.",
)
async def not_elsewhere(talk: ClientTalk) -> None:
    """A token does not follow a redirect to another origin."""
    link = await talk.open()
    message = await link.expect("tools/call")
    other = talk.host.address.replace("127.0.0.1", "localhost")
    status = talk.random.choice([307, 308])
    http = talk.http(link)
    await http.reply(message.source.exchange, status, [("location", other)])
    await talk.finished()
    for asked in (*link.asked, *link.strays):
        host = header(asked.headers, "host") or ""
        found = header(asked.headers, "authorization")
        check(not host.startswith("localhost") or found is None, f"{host} was sent the token")


@page.client(
    MAY,
    "token-handling/client-post-stays-post",
    SINCE_2025_03_26,
    bindings=STREAMABLE,
    scenario="script",
    context=script(call(timeout=5)),
    needs=SCRIPT,
    expects="The message is posted there, or the call fails; nothing is asked for by GET.",
)
async def post_stays_post(talk: ClientTalk) -> None:
    """A redirect does not turn a message into a GET."""
    talk.serving.get_stream = False
    link = await talk.open()
    message = await link.expect("tools/call")
    http = talk.http(link)
    await http.reply(message.source.exchange, 302, [("location", "/elsewhere")])
    await talk.finished()
    found = [each.method for each in link.strays if each.target == "/elsewhere"]
    check("GET" not in found, "the message became a GET of the other address")


__all__ = ["page"]
