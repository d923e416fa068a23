"""Cases of the page client/sampling for clients."""

from typing import Any

from mcpcore_conformance.cases.client_declared import declared
from mcpcore_conformance.kit.client_steps import ask_client, call, scripted
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk, ReadyLink
from mcpcore_conformance.kit.model import ALL, LEGACY, ONLY_2025_11_25, Page
from mcpcore_conformance.kit.shapes import result_problem
from mcpcore_conformance.kit.verdicts import check

page = Page("client/sampling")
case = page.client(ONLY_2025_11_25)

CREATE = "sampling/createMessage"


def _said(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": [*blocks] if len(blocks) > 1 else blocks[0]}


TEXT = {"type": "text", "text": "What is it?"}
USE = {"type": "tool_use", "id": "u1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "toolUseId": "u1", "content": [TEXT]}
TOOLS = [{"name": "look", "inputSchema": {"type": "object"}}]


declared(case, "sampling", "samples", LEGACY, "initialize")


@case.must(
    "creating-messages",
    "A result with role, content and model.",
    ALL,
    **scripted(call(), needs=("sampling",)),
)
async def answers(link: ReadyLink) -> None:
    """A request for a message is answered with one."""
    params = {"messages": [_said("user", TEXT)], "maxTokens": 10, "systemPrompt": "Be brief."}
    asking = await ask_client(link, await link.expect("tools/call"), CREATE, params)
    check(asking.result is not None, f"it got the error {asking.error}")
    found = asking.result or {}
    check(found.get("role") in ("user", "assistant"), f"the role is {found.get('role')!r}")
    check(isinstance(found.get("model"), str), f"the model is {found.get('model')!r}")
    content = found.get("content")
    check(isinstance(content, (dict, list)), f"the content is {content!r}")
    problem = result_problem(CREATE, found, link.revision)
    check(not problem, f"the result: {problem}")


@case.must(
    "tools-in-sampling", "An error.", **scripted(call(), declare=["sampling"], needs=("sampling",))
)
async def undeclared(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Tools are refused by a client that has not declared that it takes them."""
    if "tools" in link.client_capabilities.get("sampling", {}):
        talk.skip("the client declares sampling.tools")
    params = {"messages": [_said("user", TEXT)], "maxTokens": 10, "tools": TOOLS}
    asking = await ask_client(link, message, CREATE, params)
    check(asking.error is not None, f"tools were taken: {asking.result!r}")


@case.should(
    "error-handling",
    "The error -32602.",
    **scripted(call(), declare=["sampling", "sampling.tools"]),
)
async def unbalanced(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """Uses of tools without results, and results among other content, are refused."""
    if "tools" not in link.client_capabilities.get("sampling", {}):
        talk.skip("the client does not declare sampling.tools")
    for messages, what in (
        (
            [_said("user", TEXT), _said("assistant", USE), _said("user", TEXT)],
            "a use of a tool without its result",
        ),
        (
            [_said("user", TEXT), _said("assistant", USE), _said("user", RESULT, TEXT)],
            "a result among other content",
        ),
    ):
        params = {"messages": messages, "maxTokens": 10, "tools": TOOLS}
        asking = await ask_client(link, message, CREATE, params)
        check(asking.error is not None, f"{what} was taken: {asking.result!r}")
        code = (asking.error or {}).get("code")
        check(code == -32602, f"{what} got the error {code}")
