"""Cases of the page basic/authorization/index for clients: what becomes of a token."""

from mcpcore_conformance.kit.client_steps import call, listing, scripted
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.model import SINCE_2025_03_26, STREAMABLE, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/authorization/index")

case = page.client(SINCE_2025_03_26, bindings=STREAMABLE)
TOKEN = "Bearer kit-0123456789abcdef"  # noqa: S105 - made up
HEADERS = {"Authorization": TOKEN}


@case.must(
    "token-requirements/client-every-request",
    "Authorization on every POST, GET and DELETE, and no token in a URI.",
    **scripted(listing(), call(), headers=HEADERS),
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


@case.must(
    "token-handling/client-not-elsewhere",
    "No request to the other origin carries the token.",
    **scripted(call(timeout=5), headers=HEADERS),
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


@case.may(
    "token-handling/client-post-stays-post",
    "The message is posted there, or the call fails; nothing is asked for by GET.",
    **scripted(call(timeout=5)),
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
