"""The official Python SDK 2.x (or fastmcp) as a server; run as a script in its own environment.

``--kind low`` (the SDK's low-level server), ``high`` (its MCPServer), ``high1`` (FastMCP of its
1.x) or ``fastmcp``; ``--replies json|sse``; ``--events yes`` keeps events, so that streams can be
picked up; ``--binding sse`` is HTTP+SSE of 2024-11-05; ``--loop asyncio|uvloop`` and ``--parser
h11|httptools`` are uvicorn's.  ``--issuer URL``: protected, for the tokens of this issuer.
``--upstream URL``: fastmcp's proxy of the server that is there.  ``--transport ours``: over HTTP,
served by mcpcore.
"""

import json
import logging
import socket
import sys
import warnings
from pathlib import Path

import anyio

sys.path[0] = str(Path(__file__).resolve().parents[1])
from mcpcore_bench.programs.offer import AUDIENCE, arguments, fillers

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
ANY = {"type": "object"}
TIMES = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "times": {"type": "integer", "default": 1}},
    "required": ["text"],
}


def low(tools):
    """The low-level server."""
    import mcp_types as types
    from mcp.server import Server

    listed = [types.Tool(name="echo", description="Echo.", input_schema=TEXT)]
    listed += (
        types.Tool(name=name, description=f"{name}.", input_schema=ANY)
        for name in ("total", "wait", "events")
    )
    listed += (
        types.Tool(name=name, description=description, input_schema=TIMES)
        for name, description in fillers(tools)
    )
    result = types.ListToolsResult(tools=listed)

    async def on_list(ctx, params):
        return result

    async def on_call(ctx, params):
        given = params.arguments or {}
        structured = None
        if params.name == "echo":
            text = given["text"]
        elif params.name == "total":
            items = given["items"]
            found = sum(item["quantity"] * item["price"] for item in items)
            structured = {"count": len(items), "total": found}
            text = json.dumps(structured)
        elif params.name == "wait":
            await anyio.sleep(given["milliseconds"] / 1000)
            text = "waited"
        else:
            for number in range(1, given["count"] + 1):
                await ctx.session.report_progress(number, given["count"])
            text = "told"
        content = [types.TextContent(type="text", text=text)]
        return types.CallToolResult(content=content, structured_content=structured)

    return Server("low", version="1", on_list_tools=on_list, on_call_tool=on_call)


def high(maker, context, tools):
    """MCPServer of the SDK, or FastMCP."""
    from pydantic import BaseModel

    class Item(BaseModel):
        sku: str
        quantity: int
        price: float
        tags: list[str] = []

    class Total(BaseModel):
        count: int
        total: float

    def echo(text: str) -> str:
        return text

    def total(items: list[Item]) -> Total:
        found = sum(item.quantity * item.price for item in items)
        return Total(count=len(items), total=found)

    async def wait(milliseconds: int) -> str:
        await anyio.sleep(milliseconds / 1000)
        return "waited"

    async def events(ctx: context, count: int, together: bool = False) -> str:
        for number in range(1, count + 1):
            await ctx.report_progress(number, count)
        return "told"

    for tool in (echo, total, wait, events):
        maker.tool()(tool)
    for name, description in fillers(tools):

        def filler(text: str, times: int = 1) -> str:
            return text * times

        maker.tool(name=name, description=description)(filler)
    return maker


def make_events():
    """A store of events in memory, as the SDK has none of its own; a list for each stream."""
    from mcp.server.streamable_http import EventMessage, EventStore

    class Events(EventStore):
        def __init__(self):
            self.streams = {}

        async def store_event(self, stream_id, message):
            kept = self.streams.setdefault(stream_id, [])
            kept.append(message)
            return f"{stream_id}/{len(kept)}"

        async def replay_events_after(self, last_event_id, send_callback):
            stream, _, position = last_event_id.rpartition("/")
            kept = self.streams[stream]
            for number in range(int(position), len(kept)):
                if kept[number] is not None:
                    await send_callback(EventMessage(kept[number], f"{stream}/{number + 1}"))
            return stream

    return Events()


class Verifier:
    """Verification of JWTs for the SDK, which has none of its own: by PyJWT, which it brings."""

    def __init__(self, issuer):
        import jwt
        from mcp.server.auth.provider import AccessToken

        self.jwt, self.token = jwt, AccessToken
        self.issuer = issuer
        self.keys = jwt.PyJWKClient(f"{issuer}/jwks")

    async def verify_token(self, token):
        """Return what is known of a token."""
        key = self.keys.get_signing_key_from_jwt(token)
        claims = self.jwt.decode(
            token, key, algorithms=["RS256"], audience=AUDIENCE, issuer=self.issuer
        )
        return self.token(
            token=token,
            client_id=claims["client_id"],
            scopes=claims["scope"].split(),
            expires_at=claims["exp"],
            resource=claims["aud"],
            subject=claims["sub"],
            claims=claims,
        )


def protected(issuer):
    """Settings of the SDK's protected server, and its verifier."""
    from mcp.server.auth.settings import AuthSettings

    auth = AuthSettings(
        issuer_url=issuer,
        resource_server_url=AUDIENCE,
        required_scopes=["tools"],
        validate_token_resource=True,
    )
    return {"auth": auth, "token_verifier": Verifier(issuer)}


def fast_verifier(issuer):
    """The verifier of fastmcp."""
    from fastmcp.server.auth.providers.jwt import JWTVerifier

    return JWTVerifier(
        jwks_uri=f"{issuer}/jwks", issuer=issuer, audience=AUDIENCE, required_scopes=["tools"]
    )


async def serve(app, loop, parser, path="/mcp", cert=""):
    """Serve an application with uvicorn, on a port that is announced; ``cert``: over TLS."""
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=60,  # of a thousand connections the first wait longer for the last
        http=parser or "h11",
        loop=loop or "asyncio",
        backlog=2048,
        ssl_certfile=cert or None,
    )
    port = listener.getsockname()[1]
    scheme = "https" if cert else "http"
    print(f"listening on {scheme}://127.0.0.1:{port}{path}", file=sys.stderr, flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


def main():
    """Serve as the command line says."""
    chosen = arguments(
        *("kind", "replies", "loop", "parser", "events", "issuer", "upstream", "transport")
    )
    if chosen.upstream:
        from fastmcp.server import create_proxy

        server = create_proxy(chosen.upstream)
    elif chosen.kind == "fastmcp":
        from fastmcp import Context, FastMCP

        auth = fast_verifier(chosen.issuer) if chosen.issuer else None
        server = high(FastMCP("fast", version="1", auth=auth), Context, chosen.tools)
    elif chosen.kind == "high":
        from mcp.server.mcpserver import Context, MCPServer

        server = high(MCPServer("high", version="1", log_level="CRITICAL"), Context, chosen.tools)
    elif chosen.kind == "high1":
        from mcp.server.fastmcp import Context, FastMCP

        made = FastMCP("high", json_response=chosen.replies != "sse", log_level="CRITICAL")
        server = high(made, Context, chosen.tools)
    else:
        server = low(chosen.tools)
    if chosen.transport == "ours":
        from mcpcore import adapt, run
        from mcpcore_bench.programs.ours import announce, settings

        run(adapt(server), http="127.0.0.1:0", settings=settings("asyncio"), on_listening=announce)
        return
    if chosen.binding == "stdio":
        if chosen.kind == "fastmcp":
            server.run(transport="stdio", show_banner=False)
        elif chosen.kind == "high":
            server.run("stdio")
        else:
            anyio.run(by_stdio, server)
        return
    if chosen.binding == "sse":
        if chosen.kind == "fastmcp":
            app = server.http_app(path="/sse", transport="sse")
        else:
            app = by_sse(server)
        anyio.run(serve, app, chosen.loop, chosen.parser, "/sse")
        return
    if chosen.kind == "fastmcp":
        app = server.http_app(
            path="/mcp",
            json_response=chosen.replies != "sse",
            event_store=make_events() if chosen.events else None,
        )
    elif chosen.kind == "high1":
        app = server.streamable_http_app()
    else:
        app = server.streamable_http_app(
            json_response=chosen.replies != "sse",
            max_request_body_size=1 << 28,
            **(protected(chosen.issuer) if chosen.issuer else {}),
            event_store=make_events() if chosen.events else None,
        )
    if chosen.loop == "uvloop":
        import uvloop

        uvloop.install()
    anyio.run(serve, app, chosen.loop, chosen.parser, "/mcp", chosen.cert)


async def by_stdio(server):
    """Serve standard input and output."""
    from mcp.server.stdio import stdio_server

    async with stdio_server() as (received, sent):
        await server.run(received, sent, server.create_initialization_options())


def by_sse(server):
    """Serve HTTP+SSE: a session for each GET request."""
    from mcp.server.sse import SseServerTransport
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Mount, Route

    transport = SseServerTransport("/messages/")

    async def stream(request):
        opened = transport.connect_sse(request.scope, request.receive, request._send)
        async with opened as (received, sent):
            await server.run(received, sent, server.create_initialization_options())
        return Response()

    messages = Mount("/messages/", app=transport.handle_post_message)
    return Starlette(routes=[Route("/sse", stream), messages])


if __name__ == "__main__":
    main()
