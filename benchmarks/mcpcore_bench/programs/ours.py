"""Our server, by its public API: ``--binding http|sse|ws|tcp|unix|stdio``, ``--driver``.

Drivers of HTTP: ``anyio`` (h11; with ``--backend trio`` too), ``asyncio`` (h11 on a protocol),
``speed`` (httptools and uvloop), ``httptools`` (the same on asyncio's loop, to be profiled).
``--cert FILE``: TLS.  ``--issuer URL``: protected, for the tokens of this issuer.
"""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from msgspec import Meta, Struct

from mcpcore import (
    Context,
    HttpServerSettings,
    HttpSettings,
    Limits,
    RuntimeSettings,
    Server,
    ServeSettings,
    SocketSettings,
    run,
)
from mcpcore_bench.programs.offer import AUDIENCE, arguments, fillers
from mcpcore_bench.programs.sampling import sampled

if TYPE_CHECKING:
    from mcpcore import ResourceServer

MANY = 100_000
LARGE = 256 * 1024 * 1024


class Item(Struct):
    """One of the things that ``total`` adds up."""

    sku: str
    quantity: int
    price: float
    tags: list[str] = []


class Total(Struct):
    """What ``total`` finds."""

    count: int
    total: float


def make(tools: int) -> Server:
    """Make the server; ``tools``: the length of its list."""
    server = Server("ours", version="1", page_size=max(tools, 1))

    @server.tool
    def echo(text: str) -> str:
        """Say it again."""
        return text

    @server.tool
    def total(items: list[Item]) -> Total:
        """Add up what the items cost."""
        return Total(len(items), sum(item.quantity * item.price for item in items))

    @server.tool
    async def wait(milliseconds: Annotated[int, Meta(ge=0)]) -> str:
        """Answer late."""
        await anyio.sleep(milliseconds / 1000)
        return "waited"

    @server.tool
    async def events(context: Context, count: int, together: bool = False) -> str:
        """Report progress so often: each step when the last has left, or all at once."""
        for number in range(1, count + 1):
            context.progress(number, count)
            if not together:
                await context.drained()
        return "told"

    for name, description in fillers(tools):

        def tool(text: str, times: int = 1) -> str:
            return text * times

        server.add_tool(tool, name, description=description)
    return server


def settings(driver: str, heads: str = "", cert: str = "", issuer: str = "") -> ServeSettings:
    """Everything as by default, but for the limits that a load of this size would meet.

    ``cert``: TLS with this certificate; ``issuer``: authorization by the tokens of this issuer.
    """
    tls = None
    if cert:
        from mcpcore import server_tls  # here and not above, as the command has it

        tls = server_tls(cert)
    return ServeSettings(
        runtime=RuntimeSettings(limits=Limits(message_size=LARGE, in_flight=MANY, queued=LARGE)),
        http=HttpSettings(
            max_body=LARGE,
            max_queued=LARGE,
            max_sessions=MANY,
            sessions_per_client=MANY,
            session_unused=None,
            replay_events=20_000,
            replay_bytes=LARGE,
            replay_total=LARGE,
        ),
        socket=SocketSettings(connections=MANY, connections_per_client=MANY),
        http_link=HttpServerSettings(
            connections=MANY,
            connections_per_client=MANY,
            usual_heads="parsed" if heads == "parsed" else "plainly",
            authenticate=guarded(issuer) if issuer else None,
            **driven(driver),
        ),
        ssl_context=tls,
    )


def guarded(issuer: str) -> "ResourceServer":
    """Make the guard; it remembers fewer tokens than come in turn where they are new each time."""
    from mcpcore import Issuer, ResourceServer

    trusted = Issuer(issuer=issuer, jwks_url=f"{issuer}/jwks")
    return ResourceServer(AUDIENCE, [trusted], required={"tools"}, max_tokens=256)


def driven(driver: str) -> dict[str, Any]:
    """The settings that choose a driver of HTTP."""
    if driver in ("", "anyio"):
        return {"driver": "anyio", "parser": "h11"}
    return {"driver": "asyncio", "parser": "h11" if driver == "asyncio" else "httptools"}


def with_uvloop() -> None:
    """Have every event loop made by uvloop."""
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def announce(url: str) -> None:
    """Say where we are."""
    print(f"listening on {url}", file=sys.stderr, flush=True)


def main() -> None:
    """Serve as the command line says."""
    chosen = arguments("driver", "backend", "heads", "issuer")
    binding = chosen.binding
    where: dict[str, Any] = {binding: "127.0.0.1:0"}
    if binding == "unix":
        where = {"unix": chosen.path}
    elif binding == "stdio":
        where = {"stdio": True}
    if chosen.driver == "speed":
        with_uvloop()
    with sampled():
        run(
            make(chosen.tools),
            settings=settings(chosen.driver, chosen.heads, chosen.cert, chosen.issuer),
            on_listening=None if binding == "stdio" else announce,
            backend=chosen.backend or "asyncio",
            loop="asyncio" if chosen.driver == "httptools" else "auto",
            **where,
        )


if __name__ == "__main__":
    main()
