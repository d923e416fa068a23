"""The protocol as the plainest fast server would have it: what all raw programs share.

One typed decode of the request, one of the arguments, one encode of the reply, and the checks of
headers that a server owes (Host, Origin, Content-Type, Accept, the version header, Mcp-Method and
Mcp-Name against the body).  No sessions but their ids, no cancellation, no limits, no timeouts.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from mcpcore_bench.programs.offer import fillers

MODERN = "2026-07-28"
LEGACY = frozenset({"2025-11-25", "2025-06-18", "2025-03-26"})
_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Meta(Struct):
    """``_meta`` of a modern request."""

    version: str | UnsetType = field(name="io.modelcontextprotocol/protocolVersion", default=UNSET)
    token: int | str | UnsetType = field(name="progressToken", default=UNSET)


class Params(Struct):
    """Of ``tools/call`` and everything else."""

    name: str = ""
    arguments: Raw = Raw(b"{}")
    meta: Meta | UnsetType = field(name="_meta", default=UNSET)


class Request(Struct):
    """A request or notification."""

    jsonrpc: Literal["2.0"]
    method: str
    id: int | str | UnsetType = UNSET
    params: Params | UnsetType = UNSET


class Echo(Struct, forbid_unknown_fields=True):
    """Arguments of ``echo``."""

    text: str


class Times(Struct, forbid_unknown_fields=True):
    """Arguments of the tools that fill a list."""

    text: str
    times: int = 1


class Item(Struct, forbid_unknown_fields=True):
    """One of the things that ``total`` adds up."""

    sku: str
    quantity: int
    price: float
    tags: list[str] = []


class Items(Struct, forbid_unknown_fields=True):
    """Arguments of ``total``."""

    items: list[Item]


class Wait(Struct, forbid_unknown_fields=True):
    """Arguments of ``wait``."""

    milliseconds: int


class Events(Struct, forbid_unknown_fields=True):
    """Arguments of ``events``."""

    count: int
    together: bool = False


class Text(Struct):
    """A text block."""

    text: str
    type: str = "text"


class Total(Struct):
    """What ``total`` finds."""

    count: int
    total: float


SERVER_INFO = {"io.modelcontextprotocol/serverInfo": {"name": "raw", "version": "1"}}


class Result(Struct, omit_defaults=True):
    """Of ``tools/call``."""

    content: list[Text]
    structured: Total | UnsetType = field(name="structuredContent", default=UNSET)
    result_type: str | UnsetType = field(name="resultType", default=UNSET)
    meta: Any = field(name="_meta", default=UNSET)


class Reply(Struct):
    """A response."""

    id: int | str
    result: Any
    jsonrpc: str = "2.0"


class ToolError(Exception):
    """The request cannot be answered: the status and the JSON-RPC error."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


read = msgspec.json.Decoder(Request).decode
encode = msgspec.json.Encoder().encode
echo_arguments = msgspec.json.Decoder(Echo).decode
times_arguments = msgspec.json.Decoder(Times).decode
items_arguments = msgspec.json.Decoder(Items).decode
wait_arguments = msgspec.json.Decoder(Wait).decode
events_arguments = msgspec.json.Decoder(Events).decode

_EMPTY_SCHEMA = {"type": "object"}
_CAPABILITIES: dict[str, Any] = {"tools": {}}
_INFO = {"name": "raw", "version": "1"}


def tools_listed(count: int) -> bytes:
    """Encode the result of ``tools/list``, once."""
    text = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    times = {
        "type": "object",
        "properties": {"text": {"type": "string"}, "times": {"type": "integer", "default": 1}},
        "required": ["text"],
    }
    tools: list[dict[str, Any]] = [{"name": "echo", "description": "Echo.", "inputSchema": text}]
    tools += (
        {"name": name, "description": f"{name}.", "inputSchema": _EMPTY_SCHEMA}
        for name in ("total", "wait", "events")
    )
    tools += (
        {"name": name, "description": description, "inputSchema": times}
        for name, description in fillers(count)
    )
    return encode({"tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"})


class Codec:
    """Answers requests; ``tools``: the length of the list."""

    def __init__(self, tools: int) -> None:
        self._listed = tools_listed(tools)
        self._fillers = {name for name, _ in fillers(tools)}
        self.sessions: set[str] = set()

    def answer(self, request: Request, *, modern: bool) -> bytes:
        """Return the reply to a request that can be answered at once.  Raises ToolError."""
        assert request.id is not UNSET
        if request.method == "tools/call":
            return self.call(request, modern=modern)
        if request.method == "tools/list":
            return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (encode(request.id), self._listed)
        result: Any
        if request.method == "initialize":
            result = {
                "protocolVersion": "2025-11-25",
                "capabilities": _CAPABILITIES,
                "serverInfo": _INFO,
            }
        elif request.method == "server/discover":
            result = {
                "supportedVersions": [MODERN],
                "capabilities": _CAPABILITIES,
                "resultType": "complete",
                "ttlMs": 0,
                "cacheScope": "private",
                "_meta": SERVER_INFO,
            }
        else:
            raise ToolError(404, -32601, f"Method not found: {request.method}")
        return encode(Reply(id=request.id, result=result))

    def call(self, request: Request, *, modern: bool) -> bytes:
        """Answer a call of a tool that does not wait."""
        params = request.params
        assert params is not UNSET
        assert request.id is not UNSET
        structured: Total | UnsetType = UNSET
        if params.name == "echo":
            content = [Text(echo_arguments(params.arguments).text)]
        elif params.name == "total":
            items = items_arguments(params.arguments).items
            structured = Total(len(items), sum(item.quantity * item.price for item in items))
            content = [Text(encode(structured).decode())]
        elif params.name in self._fillers:
            repeated = times_arguments(params.arguments)
            content = [Text(repeated.text * repeated.times)]
        else:
            raise ToolError(400, -32602, f"Unknown tool: {params.name}")
        return self.reply(request.id, content, structured, modern=modern)

    def reply(
        self,
        request: int | str,
        content: list[Text],
        structured: Total | UnsetType = UNSET,
        *,
        modern: bool,
    ) -> bytes:
        """Encode a result."""
        if modern:
            result = Result(content, structured, "complete", SERVER_INFO)
        else:
            result = Result(content, structured)
        return encode(Reply(id=request, result=result))

    def waits(self, request: Request) -> float:
        """The seconds that a call of ``wait`` is to take, 0 for everything else."""
        params = request.params
        if params is UNSET or params.name != "wait" or request.method != "tools/call":
            return 0.0
        return wait_arguments(params.arguments).milliseconds / 1000

    def late(self, request: Request, *, modern: bool) -> bytes:
        """The answer of ``wait``."""
        assert request.id is not UNSET
        return self.reply(request.id, [Text("waited")], modern=modern)


def progress(token: int | str, value: int, total: int) -> bytes:
    """Encode a progress notification."""
    return encode(Notification(Progress(token, value, total)))


class Progress(Struct, rename={"token": "progressToken"}):
    """Of ``notifications/progress``."""

    token: int | str
    progress: int
    total: int


class Notification(Struct):
    """Of progress."""

    params: Progress
    method: str = "notifications/progress"
    jsonrpc: str = "2.0"


Headers = list[tuple[bytes, bytes]]


def check_head(method: bytes, target: bytes, headers: Headers) -> dict[bytes, bytes]:
    """Check what the head alone decides; returns the headers.  Raises ToolError.

    The names are lower case.
    """
    fields = dict(headers)
    if target != b"/mcp":
        raise ToolError(404, -32600, "nothing is served here")
    if method != b"POST":
        raise ToolError(405, -32600, "the method is not allowed")
    host = fields.get(b"host", b"").decode("latin-1").lower()
    name = host[: host.rindex("]") + 1] if host.startswith("[") else host.partition(":")[0]
    if name not in _HOSTS:
        raise ToolError(403, -32600, "the Host header is refused")
    origin = fields.get(b"origin")
    if origin is not None:
        from urllib.parse import urlsplit  # here and not above: it is for web pages

        if urlsplit(origin.decode("latin-1")).netloc != host:
            raise ToolError(403, -32600, "the Origin header is refused")
    kind = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise ToolError(415, -32600, "the Content-Type must be application/json")
    accept = fields.get(b"accept", b"").lower()
    if b"application/json" not in accept and b"text/event-stream" not in accept:
        raise ToolError(406, -32600, "the Accept header allows nothing")
    return fields


def check_request(fields: dict[bytes, bytes], request: Request, sessions: set[str]) -> bool:
    """Check headers against the body; whether the request is modern.  Raises ToolError."""
    version = fields.get(b"mcp-protocol-version", b"").decode("latin-1")
    params = request.params
    meta = params.meta if params is not UNSET else UNSET
    claimed = meta.version if meta is not UNSET else UNSET
    if claimed is UNSET:
        if request.method != "initialize":
            if version and version not in LEGACY:
                raise ToolError(400, -32600, "unsupported protocol version")
            session = fields.get(b"mcp-session-id", b"").decode("latin-1")
            if session not in sessions:
                raise ToolError(404, -32600, "no such session")
        return False
    if claimed != version:
        raise ToolError(400, -32020, "the MCP-Protocol-Version header does not match the body")
    if version != MODERN:
        raise ToolError(400, -32022, "unsupported protocol version")
    if fields.get(b"mcp-method", b"").decode("latin-1") != request.method:
        raise ToolError(400, -32020, "the Mcp-Method header does not match the body")
    if request.method == "tools/call":
        assert params is not UNSET
        if fields.get(b"mcp-name", b"").decode("latin-1") != params.name:
            raise ToolError(400, -32020, "the Mcp-Name header does not match the body")
    return True


def refused(error: Exception) -> tuple[int, bytes]:
    """Status and body of what is refused."""
    if isinstance(error, ToolError):
        status, code, message = error.status, error.code, error.message
    else:
        status, code, message = 400, -32602, str(error)
    problem = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    return status, encode(problem)
