"""What a modern server declares, which may be something else after a while."""

from typing import Any

import msgspec
import pytest
from msgspec import structs

from mcpcore.engine import Peer, Role
from mcpcore.engine.events import RequestReceived
from mcpcore.spec.errors import INVALID_PARAMS, INVALID_REQUEST, ErrorData
from mcpcore.spec.types.capabilities import ServerCapabilities
from tests.relay.bench import LEGACY, MODERN, Backend, Scene, tools


def redeployed(backend: Backend, **more: Any) -> None:
    """Replace a server at its address by one that declares something else."""
    declared = msgspec.convert(more, ServerCapabilities)
    backend.config = structs.replace(backend.config, capabilities=declared)
    wires, backend.wires = backend.wires, []
    backend.wires += [(link, near, Peer(Role.SERVER, backend.config)) for link, near, _ in wires]


def declares_prompts(scene: Scene) -> bool:
    return scene.relay.capabilities().prompts is not None


@pytest.mark.parametrize("ttl", [0, 60_000])
def test_a_modern_server_is_asked_again_for_what_it_declares(ttl: int) -> None:
    """Once its TTL is over: while it is used at the deadline, else with the next request."""
    backend = Backend("a", MODERN, tools, tools={})
    backend.config = structs.replace(backend.config, discover_ttl_ms=ttl)
    scene = Scene(MODERN, backend)
    wait = max(ttl / 1000, 5.0)
    redeployed(backend, tools={}, prompts={})
    scene.call("echo")
    scene.wait(wait - 1.0)
    scene.call("echo")
    assert not declares_prompts(scene)
    scene.wait(1.0)
    assert declares_prompts(scene)
    redeployed(backend, tools={})
    scene.wait(2 * wait)
    assert declares_prompts(scene)  # nobody has used it
    scene.call("echo")
    assert not declares_prompts(scene)


def test_a_modern_server_that_was_away_is_asked_again_for_what_it_declares() -> None:
    backend = Backend("a", MODERN, tools, tools={})
    scene = Scene(MODERN, backend)
    redeployed(backend, tools={}, prompts={})
    scene.relay.targets["a"].away = scene.now
    scene.call("echo")
    assert declares_prompts(scene)


@pytest.mark.parametrize(("code", "asks"), [(INVALID_REQUEST, True), (INVALID_PARAMS, False)])
def test_a_modern_server_whose_errors_are_those_of_another_is_asked_again(
    code: int, asks: bool
) -> None:
    """A legacy one at its address asks for a session so."""

    def refuses(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.fail(event.key, ErrorData(code, "Bad Request: Missing session ID"))

    backend = Backend("a", MODERN, refuses, tools={})
    scene = Scene(LEGACY, backend)
    redeployed(backend, tools={}, prompts={})
    scene.error("tools/call", {"name": "echo"})
    assert not declares_prompts(scene)  # it was asked just now
    scene.now = 5.0
    scene.error("tools/call", {"name": "echo"})
    assert declares_prompts(scene) is asks
