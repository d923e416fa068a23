"""What the tests of the service share: ask a server, run the handler, read the answer."""

import inspect
from collections.abc import Mapping
from typing import Any

import msgspec

from mcpcore.service import Server
from mcpcore.spec.revisions import LATEST, Revision


class Context:
    """Stands for the runtime's context."""

    __mcp_context__ = True


CONTEXT = Context()


def ask(
    server: Server,
    method: str,
    params: Mapping[str, Any] | bytes | None = None,
    revision: Revision = LATEST,
    **by: Any,
) -> Any:
    """Prepare, call, finish as a runtime does; McpErrors come out.

    ``by``: who asks, as `Server.prepare` takes it.
    """
    raw = params if isinstance(params, bytes) else msgspec.json.encode(params or {})
    prepared = server.prepare(method, raw, revision, **by)
    body = prepared.result
    if body is None:
        try:
            value = prepared.call(CONTEXT)
            assert inspect.isawaitable(value) == prepared.is_async
            if prepared.is_async:
                value = run(value)
            body = prepared.finish(value)
        except Exception as error:
            body = prepared.failure(error)
    assert b"\n" not in bytes(body)
    return msgspec.json.decode(body)


def run(coroutine: Any) -> Any:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the coroutine waits for something")


def call(
    server: Server,
    name: str,
    arguments: Mapping[str, Any] | None = None,
    revision: Revision = LATEST,
) -> Any:
    """Call a tool; without arguments the member is absent."""
    params: dict[str, Any] = {"name": name}
    if arguments is not None:
        params["arguments"] = arguments
    return ask(server, "tools/call", params, revision)
