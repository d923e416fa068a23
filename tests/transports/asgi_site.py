"""What is served behind ASGI in tests: tools by which a test sees and steers what runs.

``app`` is the application alone, ``mounted`` the same inside of Starlette.  The environment may
name a store for the sessions, ``SITE_STORE``.
"""

import os

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from mcpcore.http.settings import HttpSettings, SsePaths
from mcpcore.service import Server
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.asgi import Scope, asgi_app
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.context import Context
from mcpcore_transports.stores.base import open_store

MAX_BODY = 64 * 1024
BODY_TIME = 1.0

server = Server("site", version="1")


class Blackboard:
    """What has happened, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._changed = anyio.Event()

    def write(self, what: str) -> None:
        self.seen.append(what)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def until(self, what: str) -> None:
        while what not in self.seen:
            await self._changed.wait()


board = Blackboard()


@server.tool
def add(a: int, b: int) -> int:
    return a + b


@server.tool
def process() -> int:
    return os.getpid()


@server.tool
def big(size: int) -> str:
    return "x" * size


@server.tool
def write(what: str) -> str:
    board.write(what)
    return "written"


@server.tool
async def read(what: str) -> str:
    """Answers when it has happened."""
    await board.until(what)
    return "seen"


@server.tool
async def hold(label: str, context: Context, steps: int = 1) -> str:
    """Reports progress, and answers once ``release LABEL`` is written."""
    for step in range(steps):
        context.progress(step + 1, steps)
    try:
        await board.until(f"release {label}")
    except BaseException:
        board.write(f"cancelled {label}")
        raise
    board.write(f"ended {label}")
    return f"held {label}"


@server.tool
async def flood(label: str, count: int, context: Context) -> str:
    """Sends so many messages of 10 kB, each when there is room for it."""
    for number in range(count):
        context.info("x" * 10_000)
        if number % 10 == 0:
            board.write(f"{label} {number}")
        await context.drained()
    board.write(f"ended {label}")
    return "flooded"


@server.tool
def sent(label: str) -> int:
    """How far a flood has come."""
    numbers = [word.split()[-1] for word in board.seen if word.startswith(f"{label} ")]
    return int(numbers[-1]) if numbers else 0


@server.tool
async def greet(context: Context) -> str:
    form = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    answer = await context.elicit("Who are you?", form)
    return f"Hello, {answer.content['name']}!" if answer.content else "Hello!"


@server.tool
def whoami(context: Context) -> str:
    return str(context.principal or "nobody")


def principal(scope: Scope) -> str | None:
    """Whom some middleware would have authenticated."""
    name = dict(scope["headers"]).get(b"x-user")
    return None if name is None else name.decode()


store = os.environ.get("SITE_STORE")
settings = ServeSettings(
    store=None if store is None else open_store(store),
    http=HttpSettings(max_body=MAX_BODY, sse=SsePaths()),
    http_link=HttpServerSettings(body_time=BODY_TIME, drain_time=2.0),
)
app = asgi_app(server, settings=settings, principal=principal)


async def page(request: object) -> PlainTextResponse:
    return PlainTextResponse("a page")


async def pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Middleware of the kind that holds responses in its own hands."""
    return await call_next(request)


mounted = Starlette(
    middleware=[
        Middleware(GZipMiddleware),
        Middleware(BaseHTTPMiddleware, dispatch=pass_on),
    ],
    routes=[
        Route("/page", page),
        Route("/mcp", asgi_app(server, settings=settings, principal=principal)),
        Mount("/inner", app=asgi_app(server, settings=settings, principal=principal)),
    ],
)
