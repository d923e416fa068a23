"""Cases of the page basic/patterns/index."""

from collections import Counter
from typing import Any

from mcpcore_conformance.kit.model import MODERN, Page
from mcpcore_conformance.kit.probes import answers, plain_request
from mcpcore_conformance.kit.talk import AnyMethod, AnyParams, AnyTool, OpenLink, ServerTalk
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/patterns/index")
case = page.server(MODERN)
request_and_response = case.at("request-and-response")

ASKING: tuple[tuple[str, dict[str, Any]], ...] = (
    ("test_sampling", {"prompt": "Hello"}),
    ("test_elicitation", {"message": "Who?"}),
    ("test_list_roots", {}),
)
"""Tools of the fixture that need something of the client."""


@request_and_response.must("No request of the server, whatever its tools need of the client.")
async def no_server_requests(talk: ServerTalk, link: OpenLink, tool: AnyTool) -> None:
    """Every interaction begins with the client."""
    await link.request("tools/call", {"name": tool.name, "arguments": talk.arguments(tool)})
    for name, arguments in ASKING:
        if name in talk.features.tools:
            await link.request("tools/call", {"name": name, "arguments": arguments})
    await link.quiet()
    asked = [each.method for each in link.asked]
    check(not asked, f"the server sent {', '.join(asked)}")


@request_and_response.must("One result or error for each request.")
async def answered_once(link: OpenLink, method: AnyMethod, params: AnyParams) -> None:
    """Every request is answered, and answered once: also those that fail."""
    asked: tuple[tuple[str, dict[str, Any]], ...] = (
        (method, params),
        ("kit/no-such-method", {}),
        (plain_request(link), {}),
    )
    sent = [await link.send(*each) for each in asked]
    wanted = {each.id for each in sent}
    await link.until(lambda: wanted <= {each.id for each in answers(link)})
    await link.quiet()
    found = Counter(each.id for each in answers(link))
    for each in sent:
        link.check_let_in(each.exchange)
        check(found[each.id] == 1, f"{each.method} was answered {found[each.id]} times")
        await link.reply(each, 0.0)
