"""Cases of the page basic/utilities/tasks for clients."""

from typing import Any

from mcpcore_conformance.cases.client_basic_patterns_mrtr import FORM, SAMPLING
from mcpcore_conformance.kit.client_serving import tool
from mcpcore_conformance.kit.client_steps import ask_client, call, listing, scripted
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk
from mcpcore_conformance.kit.model import ONLY_2025_11_25, Page
from mcpcore_conformance.kit.shapes import result_problem
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/utilities/tasks")
case = page.client(ONLY_2025_11_25)

CALLS: dict[str, Any] = {"tasks": {"requests": {"tools": {"call": {}}}}}


def _ignored(asked: dict[str, Any], what: str) -> None:
    kind, _, member = asked["method"].partition("/")

    async def ignored(talk: ClientTalk, link: CalledLink, message: Call) -> None:
        kinds = link.client_capabilities.get("tasks", {}).get("requests", {})
        if member in kinds.get(kind, {}):
            talk.skip(f"the client makes tasks of {asked['method']}")
        params = {**asked["params"], "task": {"ttl": 60_000}}
        asking = await ask_client(link, message, asked["method"], params)
        check(asking.result is not None, f"it got the error {asking.error}")
        found = asking.result or {}
        check("task" not in found, "it became a task, which the client does not declare")
        problem = result_problem(asked["method"], found, link.revision)
        check(not problem, f"the result: {problem}")

    case.must(
        f"task-support-and-handling/client-{kind}-as-ever",
        "The result that there is without task metadata.",
        summary=f"A client that makes no tasks of {asked['method']} answers it as ever.",
        **scripted(call(), needs=(what,)),
    )(ignored)


_ignored(SAMPLING, "sampling")
_ignored(FORM, "elicitation")


def _plain(slug: str, summary: str, offered: dict[str, Any], **of_the_tool: Any) -> None:
    async def plain(talk: ClientTalk) -> None:
        talk.serving.capabilities = {"tools": {}, **offered}
        talk.serving.tools = [{**tool("echo"), **of_the_tool}]
        message = await (await talk.open()).expect("tools/call")
        check("task" not in message.params, "the call asks for a task")

    case.must(
        f"tool-level-negotiation/client-{slug}",
        "A call without task metadata.",
        summary=summary,
        **scripted(listing(), call()),
    )(plain)


_plain("tool-forbids", "A tool that does not say so is not called as a task.", CALLS)
_plain(
    "undeclared",
    "No tool of a server that declares no tasks is called as one.",
    {},
    execution={"taskSupport": "optional"},
)
