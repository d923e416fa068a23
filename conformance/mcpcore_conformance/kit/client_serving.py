"""Offers and automatic answers of the kit when it plays the server."""

from collections.abc import Callable
from typing import Any

from msgspec import UNSET, Struct, field

from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import META_SERVER_INFO
from mcpcore_conformance.kit.client_wire import Asked
from mcpcore_conformance.kit.messages import METHOD_NOT_FOUND, UNSUPPORTED_VERSION, Message
from mcpcore_conformance.kit.protected import PlainReply

Answer = dict[str, Any]
SERVER_INFO = {"name": "mcpcore-conformance", "version": "1"}

HELD = frozenset(
    {
        "tools/call",
        "resources/read",
        "prompts/get",
        "completion/complete",
        "subscriptions/listen",
    }
)
"""Requests that wait until a case expects them."""


def _object_schema(**properties: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if properties:
        schema["required"] = [*properties]
    return schema


def tool(name: str, **more: Any) -> dict[str, Any]:
    """An entry of tools/list, without parameters if ``inputSchema`` is not given."""
    return {"name": name, "description": f"Tool {name}", "inputSchema": _object_schema(), **more}


def default_tools() -> list[dict[str, Any]]:
    """The tools that the official scenarios call, and one for scripts."""
    number = {"type": "number"}
    return [
        tool("add_numbers", inputSchema=_object_schema(a=number, b=number)),
        tool("echo", inputSchema={"type": "object", "properties": {"text": {"type": "string"}}}),
    ]


def text(words: str) -> Answer:
    """The result of a tool call: one text."""
    return {"content": [{"type": "text", "text": words}]}


def failing(code: int, message: str, data: Any = UNSET) -> Answer:
    """Return the value by which a function of ``Serving.by`` answers with an error."""
    made: dict[str, Any] = {"code": code, "message": message}
    if data is not UNSET:
        made["data"] = data
    return {"error": made}


class Serving(Struct, kw_only=True):
    """Settings of the kit as a server; a case edits them before or while it runs.

    ``by`` method: a function of the request that returns a result, or :func:`failing`, or None to
    leave it without an answer.
    """

    capabilities: dict[str, Any] | None = None
    """None: everything that is listed."""
    info: dict[str, Any] = field(default_factory=lambda: dict(SERVER_INFO))
    instructions: str | None = None
    version: str | None = None
    """Version in the answer to initialize; None: the revision of the case."""
    versions: list[str] | None = None
    """Versions in the answer to server/discover; None: the revision of the case."""
    tools: list[dict[str, Any]] = field(default_factory=default_tools)
    resources: list[dict[str, Any]] = field(
        default_factory=lambda: [{"uri": "test://kit/one", "name": "one"}]
    )
    templates: list[dict[str, Any]] = field(
        default_factory=lambda: [{"uriTemplate": "test://kit/{name}", "name": "any"}]
    )
    prompts: list[dict[str, Any]] = field(
        default_factory=lambda: [{"name": "greet", "arguments": [{"name": "who"}]}]
    )
    by: dict[str, Callable[[Message], Answer | None]] = field(default_factory=dict)
    hold: set[str] = field(default_factory=lambda: set(HELD))
    """Methods whose requests wait until they are expected, and HTTP methods (``GET``)."""
    session: str | None = "kit-session-1"
    """HTTP, where there are sessions: the id that is given; None: none."""
    get_stream: bool = True
    """HTTP, where there is one: GET opens a stream; False: 405."""
    site: Callable[[Asked, bytes], PlainReply | None] | None = None
    """HTTP: takes every request with its body, and replies to it; None: it is answered as without
    a site."""
    answer_by: str = "json"
    """HTTP: ``json`` or ``sse``, for answers before which nothing was said."""

    def declared(self, revision: Revision) -> dict[str, Any]:
        """The capabilities."""
        if self.capabilities is not None:
            return self.capabilities
        changes = {"listChanged": True}
        made: dict[str, Any] = {
            "tools": changes,
            "resources": {"subscribe": True, **changes},
            "prompts": changes,
            "logging": {},
        }
        if revision.name != "2024-11-05":
            made["completions"] = {}
        return made

    def answer(self, message: Message, revision: Revision) -> Answer | None:
        """The result of a request, or ``{"error": ...}``; None: no answer."""
        method = message.method
        if method in self.by:
            return self.by[method](message)
        if lookup(method, "client", revision) is None:
            if method == "initialize":
                data = {"supported": [revision.name], "requested": _asked_version(message)}
                return failing(UNSUPPORTED_VERSION, "This server is modern", data)
            return failing(METHOD_NOT_FOUND, f"No method {method}")
        lists = {
            "tools/list": ("tools", self.tools),
            "resources/list": ("resources", self.resources),
            "resources/templates/list": ("resourceTemplates", self.templates),
            "prompts/list": ("prompts", self.prompts),
        }
        if method in lists:
            member, entries = lists[method]
            return {member: entries}
        made = _ANSWERS.get(method)
        if made is not None:
            return made(self, message, revision)
        return failing(METHOD_NOT_FOUND, f"No method {method}")


def completed(method: str, answer: Answer, revision: Revision, info: dict[str, Any]) -> Answer:
    """Add to a result what the revision demands and it does not have."""
    if not revision.result_type:
        return answer
    made = {"resultType": "complete", **answer}
    row = lookup(method, "client", revision)
    if row is not None and row.cacheable and made["resultType"] == "complete":
        made.setdefault("ttlMs", 0)
        made.setdefault("cacheScope", "private")
    made["_meta"] = {META_SERVER_INFO: info, **made.get("_meta", {})}
    return made


def _asked_version(message: Message) -> Any:
    return message.params.get("protocolVersion")


def _initialize(serving: Serving, message: Message, revision: Revision) -> Answer:
    made: Answer = {
        "protocolVersion": serving.version or revision.name,
        "capabilities": serving.declared(revision),
        "serverInfo": serving.info,
    }
    if serving.instructions is not None:
        made["instructions"] = serving.instructions
    return made


def _discover(serving: Serving, message: Message, revision: Revision) -> Answer:
    made: Answer = {
        "supportedVersions": serving.versions or [revision.name],
        "capabilities": serving.declared(revision),
    }
    if serving.instructions is not None:
        made["instructions"] = serving.instructions
    return made


def _read(serving: Serving, message: Message, revision: Revision) -> Answer:
    uri = message.params.get("uri")
    return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": "read from the kit"}]}


def _prompt(serving: Serving, message: Message, revision: Revision) -> Answer:
    words = {"type": "text", "text": "prompted by the kit"}
    return {"messages": [{"role": "user", "content": words}]}


def _complete(serving: Serving, message: Message, revision: Revision) -> Answer:
    return {"completion": {"values": ["kit"], "hasMore": False}}


def _empty(serving: Serving, message: Message, revision: Revision) -> Answer:
    return {}


_ANSWERS: dict[str, Callable[[Serving, Message, Revision], Answer | None]] = {
    "initialize": _initialize,
    "server/discover": _discover,
    "ping": _empty,
    "logging/setLevel": _empty,
    "resources/subscribe": _empty,
    "resources/unsubscribe": _empty,
    "tools/call": lambda serving, message, revision: text("said by the kit"),
    "resources/read": _read,
    "prompts/get": _prompt,
    "completion/complete": _complete,
}
