"""Choice of the event loop of asyncio: its own, or uvloop if that is faster."""

from importlib.util import find_spec
from typing import Any, Literal

from mcpcore.spec.errors import LocalError
from mcpcore_transports.http.settings import HttpServerSettings

LoopName = Literal["auto", "asyncio", "uvloop"]


def backend_options(
    loop: LoopName, backend: str, settings: HttpServerSettings | None
) -> dict[str, Any]:
    """Return the backend options for ``anyio.run`` that select the event loop.

    ``settings`` are those of HTTP, None if it is not served.  ``auto`` is uvloop if it is installed
    and HTTP is served on asyncio with httptools: with h11 it would not be faster.  Raises
    LocalError for uvloop if it is not installed, or on trio.
    """
    there = find_spec("uvloop") is not None
    if loop == "auto":
        loop = "asyncio"
        if there and backend == "asyncio" and settings and settings.driver != "anyio":
            from mcpcore_transports.http1.heads import chosen

            loop = "uvloop" if chosen(settings.parser) == "httptools" else "asyncio"
    if loop != "uvloop":
        return {}
    if backend != "asyncio":
        raise LocalError("uvloop is a loop of asyncio")
    if not there:
        raise LocalError("uvloop is not installed: pip install 'mcpcore[speed]'")
    from uvloop import new_event_loop

    return {"loop_factory": new_event_loop}
