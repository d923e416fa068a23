"""From a target to the stage on which cases are played: the only place that knows all bindings."""

import os
import socket
import ssl
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
)
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import anyio
from msgspec import Struct

from mcpcore.errors import BadTarget
from mcpcore.service import Service
from mcpcore_conformance.kit.bindings.http import HttpStage
from mcpcore_conformance.kit.bindings.sockets import SocketStage
from mcpcore_conformance.kit.bindings.sse import SseStage
from mcpcore_conformance.kit.bindings.stdio import StdioStage
from mcpcore_conformance.kit.bindings.websocket import WebSocketStage
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.wire import Stage
from mcpcore_conformance.launch import LaunchError, serving, serving_at
from mcpcore_conformance.subjects.memory import MemoryStage
from mcpcore_transports.auth.authorizer import http_url
from mcpcore_transports.stdio.process import environment
from mcpcore_transports.stream.settings import ProcessSettings
from mcpcore_transports.targets import (
    HttpTarget,
    MemoryTarget,
    SseTarget,
    StdioTarget,
    Target,
    TcpTarget,
    UnixTarget,
    WebSocketTarget,
    describe,
    parse_target,
)

EVERYTHING = (sys.executable, "-m", "mcpcore_conformance.everything.server")
"""Our reference server; takes the options of ``mcpcore serve`` for its bindings."""
EVERYTHING_CLIENT = (sys.executable, "-m", "mcpcore_conformance.everything.client")
"""Our reference client; plays what the kit asks of clients."""
LISTENING = {
    Binding.HTTP: "--http",
    Binding.WS: "--ws",
    Binding.SSE: "--sse",
    Binding.TCP: "--tcp",
}
START = 30.0
"""Seconds for a server to announce where it listens."""

SMALL_PAGES = 15
"""Entries on one page of the reference server's lists, so that some list has several."""

T = TypeVar("T")
AnyStage = AbstractAsyncContextManager[Stage]
WebTarget = HttpTarget | SseTarget | WebSocketTarget
_WEB: dict[Binding, Callable[..., AnyStage]] = {
    Binding.SSE: SseStage,
    Binding.WS: WebSocketStage,
}


class CannotStart(Exception):
    """A server that the kit has to start does not start; the message says why."""


class Subject(Struct, frozen=True):
    """A server to be tested over one binding."""

    binding: Binding
    target: str
    """For reports."""
    make: Callable[[AsyncExitStack], Awaitable[Stage]]
    """Starts what has to be started, and makes the stage; the stack ends it.

    Raises CannotStart."""


def subject_of(
    target: Target,
    *,
    binding: Binding | None = None,
    tls: ssl.SSLContext | None = None,
    other_headers: Mapping[str, str] | None = None,
) -> Subject:
    """What a target is as a subject.  Raises BadTarget, also if it cannot be over ``binding``.

    ``other_headers``: over Streamable HTTP, those of a second principal.
    """
    own = binding_of(target)
    if binding not in (None, own):
        if not (isinstance(target, HttpTarget) and binding is Binding.SSE):
            raise BadTarget(f"{describe(target)} is a server over {own}, not over {binding}")
        own = Binding.SSE
    stage = partial(_stage, target, own, tls, other_headers)
    return Subject(own, describe(target), _entering(stage))


def binding_of(target: Target) -> Binding:
    """How one talks to a target.  Raises BadTarget for those of the user's own making."""
    match target:
        case HttpTarget():
            return Binding.HTTP
        case SseTarget():
            return Binding.SSE
        case WebSocketTarget():
            return Binding.WS
        case StdioTarget():
            return Binding.STDIO
        case TcpTarget():
            return Binding.TCP
        case UnixTarget():
            return Binding.UNIX
        case MemoryTarget():
            return Binding.MEMORY
        case _:
            raise BadTarget(f"the kit has no binding for {describe(target)}")


def program(command: Sequence[str], binding: Binding, *, name: str = "") -> Subject:
    """A server program that takes ``--stdio``, ``--http HOST:PORT`` ... as `mcpcore serve` does."""
    shown = name or " ".join(command)
    if binding is Binding.STDIO:
        stage = partial(_stage, StdioTarget((*command, "--stdio")), binding, None)
        return Subject(binding, shown, _entering(stage))
    return Subject(binding, shown, partial(_launched, command, binding))


def written(command: Sequence[str], binding: Binding) -> Subject:
    """A program that was written for one binding: over stdio it takes no option for it."""
    if binding is Binding.STDIO:
        stage = partial(_stage, StdioTarget(tuple(command)), binding, None)
        return Subject(binding, " ".join(command), _entering(stage))
    return program(command, binding)


def module(server: Service, name: str, binding: Binding) -> Subject:
    """A server object of this process over any binding; ``name`` is its MODULE:SERVER."""
    if binding is Binding.MEMORY:
        return Subject(binding, name, _entering(partial(MemoryStage, server, target=name)))
    return program(
        (sys.executable, "-m", "mcpcore_transports.commands.main", "serve", name),
        binding,
        name=name,
    )


def protected(
    target: WebTarget, command: StdioTarget, *, tls: ssl.SSLContext | None = None
) -> Subject:
    """A server that a command starts at a URL, and tells of the kit's authorization server."""
    make = partial(_protected, target, command, tls)
    return Subject(binding_of(target), describe(target), make)


def everything(binding: Binding, *, guarded: bool = False) -> Subject:
    """Our reference server over a binding; ``guarded``: with the kit's authorization server."""
    if guarded:
        made = partial(_everything_guarded, binding)
        return Subject(binding, "our everything server, guarded", made)
    if binding is Binding.CORE:
        from mcpcore_conformance.subjects.core import CoreStage

        # it has handlers of its own, as nothing may wait there
        return Subject(binding, "our sans-IO core", _entering(CoreStage))
    if binding is Binding.MEMORY:
        from mcpcore_conformance.everything.server import server

        return module(server, "mcpcore_conformance.everything.server:server", binding)
    from mcpcore_conformance.everything.app import PAGE_SIZE

    command = ("env", f"{PAGE_SIZE}={SMALL_PAGES}", *EVERYTHING)
    return program(command, binding, name="our everything server")


async def _everything_guarded(binding: Binding, stack: AsyncExitStack) -> Stage:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        host, port = probe.getsockname()
    place = f"{host}:{port}"
    command = StdioTarget((*EVERYTHING, LISTENING[binding], place))
    targets: dict[Binding, WebTarget] = {
        Binding.HTTP: HttpTarget(f"http://{place}/mcp"),
        Binding.WS: WebSocketTarget(f"ws://{place}/mcp"),
        Binding.SSE: SseTarget(f"http://{place}/sse"),
    }
    return await _protected(targets[binding], command, None, stack)


async def _protected(
    target: WebTarget, command: StdioTarget, tls: ssl.SSLContext | None, stack: AsyncExitStack
) -> Stage:
    """Start an authorization server, and then a server that is told of it."""
    try:
        from mcpcore_conformance.auth.issuer import RunningIssuer
    except ModuleNotFoundError as error:
        raise CannotStart(f"an authorization server needs the extra auth: {error}") from None
    assert not callable(target.headers)
    parts = urlsplit(target.url)
    port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
    tokens = await stack.enter_async_context(RunningIssuer(http_url(target.url)))
    env = environment(ProcessSettings(env={**(command.env or {}), **tokens.environment}))
    start = partial(
        serving_at,
        command.command,
        parts.hostname or "127.0.0.1",
        port,
        timeout=START,
        env=env,
        cwd=command.cwd,
    )
    await _begun(stack, start)
    own, other = ({"authorization": f"Bearer {each}"} for each in (tokens.good, tokens.other))
    given = target.headers or {}
    options: dict[str, Any] = {"tls": tls, "headers": {**given, **own}, "tokens": tokens}
    if isinstance(target, HttpTarget):
        options["other_headers"] = {**given, **other}
    kind = _WEB.get(binding_of(target), HttpStage)
    return await stack.enter_async_context(kind(target.url, **options))


def _stage(
    target: Target,
    binding: Binding,
    tls: ssl.SSLContext | None,
    other_headers: Mapping[str, str] | None = None,
) -> AnyStage:
    match target:
        case HttpTarget() | SseTarget() | WebSocketTarget():
            assert not callable(target.headers)
            if binding is Binding.HTTP:
                own = target.headers
                return HttpStage(target.url, tls=tls, headers=own, other_headers=other_headers)
            kind = _WEB[binding]
            return kind(target.url, tls=tls, headers=target.headers)
        case StdioTarget():
            env = environment(ProcessSettings(env=target.env))
            cwd = None if target.cwd is None else os.fspath(target.cwd)
            return StdioStage(target.command, env=env, cwd=cwd)
        case TcpTarget():
            return SocketStage(target.url, tls=tls)
        case UnixTarget():
            return SocketStage(f"unix://{quote(os.path.abspath(target.path))}")
        case MemoryTarget():
            return MemoryStage(target.server, target=describe(target))
        case _:
            raise BadTarget(f"the kit has no binding for {describe(target)}")


def _entering(make: Callable[[], AnyStage]) -> Callable[[AsyncExitStack], Awaitable[Stage]]:
    async def enter(stack: AsyncExitStack) -> Stage:
        return await stack.enter_async_context(make())

    return enter


async def _begun(stack: AsyncExitStack, start: Callable[[], AbstractContextManager[T]]) -> T:
    """Start a program, in threads: starting and stopping it blocks.  Raises CannotStart."""
    inner = ExitStack()

    async def stop() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(inner.close)

    stack.push_async_callback(stop)
    try:
        return await anyio.to_thread.run_sync(lambda: inner.enter_context(start()))
    except (LaunchError, OSError) as error:
        raise CannotStart(str(error)) from error


async def _launched(command: Sequence[str], binding: Binding, stack: AsyncExitStack) -> Stage:
    """Start a server that listens somewhere."""
    if binding is Binding.UNIX:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-"))
        options = ["--unix", f"{folder}/s"]
    else:
        options = [LISTENING[binding], "127.0.0.1:0"]
    start = partial(serving, [*command, *options], timeout=START)
    (url,) = await _begun(stack, start)
    return await stack.enter_async_context(_stage(parse_target(url), binding, None))
