"""Parts of client cases: steps of a script, and requests for input in either era."""

from typing import Any, TypedDict

from msgspec import Struct

from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.messages import Kind, Message
from mcpcore_conformance.kit.verdicts import Broken, check

Step = dict[str, Any]

BOUNDED = 2.0
"""Seconds without another request by which a client shows that it bounds those under way."""
SECONDS = 15.0
"""For steps that should not need them: a client that gives up earlier is a client that noticed."""


class ScriptTraits(TypedDict):
    """Traits of a case whose client plays a script."""

    scenario: str
    context: dict[str, Any]
    needs: tuple[str, ...]


def script(*steps: Step, **options: Any) -> dict[str, Any]:
    """The context of a script; ``options`` as in docs/how-to/conformance-clients.md."""
    return {"steps": [*steps], **options}


def scripted(*steps: Step, needs: tuple[str, ...] = (), **options: Any) -> ScriptTraits:
    """Traits of a case whose client plays a script; ``needs``: what else it needs."""
    return {
        "scenario": "script",
        "context": script(*steps, **options),
        "needs": ("scenario:script", *needs),
    }


def call(tool: str = "echo", arguments: Any = None, **rest: Any) -> Step:
    """Call a tool."""
    given = {"text": "hello"} if arguments is None else arguments
    return {"do": "call", "tool": tool, "arguments": given, "timeout": SECONDS, **rest}


def listing(what: str = "tools", **rest: Any) -> Step:
    """Read all pages of a list."""
    return {"do": "list", "what": what, **rest}


def read(uri: str, **rest: Any) -> Step:
    """Read a resource."""
    return {"do": "read", "uri": uri, **rest}


def skill(uri: str, *paths: str, **rest: Any) -> Step:
    """Load a skill, and read files of it."""
    return {"do": "skill", "uri": uri, "read": [*paths], **rest}


def directory(uri: str, **rest: Any) -> Step:
    """Read a directory."""
    return {"do": "directory", "uri": uri, **rest}


def prompt(name: str, arguments: dict[str, str] | None = None, **rest: Any) -> Step:
    """Get a prompt."""
    return {"do": "prompt", "name": name, "arguments": arguments or {}, **rest}


def complete(**rest: Any) -> Step:
    """Ask for completions of the argument of a prompt."""
    ref = {"type": "ref/prompt", "name": "greet"}
    return {"do": "complete", "ref": ref, "argument": "who", "value": "k", **rest}


def listen(**rest: Any) -> Step:
    """Listen for changes."""
    return {"do": "listen", "timeout": SECONDS, **rest}


def together(*steps: Step) -> Step:
    """Do several things at the same time."""
    return {"do": "together", "steps": [*steps]}


def pause(seconds: float) -> Step:
    """Do nothing for a while."""
    return {"do": "pause", "seconds": seconds}


async def under_way(link: ClientLink, method: str, most: int) -> list[Message]:
    """Wait for requests that are under way at the same time: ``most``, or as many as come.

    A client may bound them; the others come when these are answered.  Broken if there is none.
    """
    held = [await link.expect(method)]
    while len(held) < most and (more := await link.wait_for(method, within=BOUNDED)) is not None:
        held.append(more)
    return held


class Asking(Struct):
    """A client was asked for input: its answer, and the call that is now to be answered."""

    call: Message
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    """The client's error; in the modern era, which has no answers on the wire: the call was not
    made again."""


async def ask_client(
    link: ClientLink, message: Message, method: str, params: dict[str, Any]
) -> Asking:
    """Ask for input during a call: by a request of the server, or by an input round."""
    if link.revision.server_requests:
        answer = await link.ask(method, params, about=message)
        if answer.kind is Kind.ERROR:
            return Asking(message, error=answer.error)
        return Asking(message, answer.result)
    await require_input(link, message, {"asked": {"method": method, "params": params}})
    again = await link.wait_for(message.method, within=5.0)
    if again is None:
        return Asking(message, error={"code": 0, "message": "the call was not made again"})
    responses = again.params.get("inputResponses")
    if not isinstance(responses, dict) or not isinstance(responses.get("asked"), dict):
        raise Broken(f"the call was made again with inputResponses {responses!r}")
    return Asking(again, responses["asked"])


async def require_input(
    link: ClientLink, message: Message, requests: dict[str, Any] | None, state: str | None = None
) -> None:
    """Answer a call with ``input_required``."""
    result: dict[str, Any] = {"resultType": "input_required"}
    if requests is not None:
        result["inputRequests"] = requests
    if state is not None:
        result["requestState"] = state
    await link.respond(message, result)


def texts(result: Any) -> list[str]:
    """The texts of a tool's result, as the client reports it."""
    check(isinstance(result, dict), f"the result is {result!r}")
    content = result.get("content", [])
    return [block.get("text", "") for block in content if isinstance(block, dict)]


async def ends_in_order(talk: ClientTalk) -> None:
    """Check that a client ends a server process that ends by itself when its input is closed."""
    talk.endless = False  # who does not end the server does not end: this is about it
    link = await talk.open()
    await talk.finished()
    names = [each.name for each in link.signals]
    check(names[:1] == ["EOF"], f"the end began with {names[:1] or 'killing the server'}")
    check(names == ["EOF"], f"a server that ends by itself was sent {names[1:]}")


async def ends_by_force(talk: ClientTalk) -> None:
    """Check that a client ends a server process that does not end by itself."""
    link = await talk.open()
    process = talk.process(link)
    await process.stubborn()
    await talk.finished()
    names = [each.name for each in link.signals]
    check(names[:1] == ["EOF"], f"the end began with {names[:1] or 'killing the server'}")
    talk.should("SIGTERM" in names, "the server was killed without SIGTERM before")
    check(not process.alive(), "the client has ended, and the server is still there")
