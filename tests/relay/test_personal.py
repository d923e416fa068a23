"""Servers that are called with the credentials of each client: nobody shares a conversation."""

import pytest
from msgspec import structs

from mcpcore.engine import Peer
from mcpcore.engine.events import RequestReceived
from mcpcore.http.principals import Principal
from mcpcore.relay.names import Naming
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.errors import INVALID_PARAMS
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ServerCapabilities, ToolsCapability
from tests.relay.bench import CELLS, LEGACY, MODERN, Backend, Scene, tools

cells = pytest.mark.parametrize(("client", "server"), CELLS)


def personal(server: str) -> Backend:
    backend = Backend("a", server, tools)
    backend.personal = True
    return backend


def principals(backend: Backend) -> list[str | None]:
    """Principals of the conversations, in order; None for the first one, of the relay itself."""
    return [link.audience.principal for link, _, _ in backend.wires]


@pytest.mark.parametrize("server", [LEGACY, MODERN])
def test_principals_and_scopes_have_conversations_of_their_own(server: str) -> None:
    backend = personal(server)
    scene = Scene(MODERN, backend)
    for name, scopes in (("ann", ["r"]), ("ben", ["r"]), ("ann", ["r", "w"]), ("ann", ["r"])):
        scene.front.principal = Principal(name, scopes=scopes)
        assert scene.call("echo") == "a: {}"
    assert principals(backend) == [None, "ann", "ben", "ann"]


@cells
def test_what_a_server_tells_one_client_of_itself_is_told_to_no_other(
    client: str, server: str
) -> None:
    backend = personal(server)
    scene = Scene(client, backend)
    before = scene.relay.targets["a"].greeting
    assert before is not None
    more = ServerCapabilities(tools=ToolsCapability())
    info = Implementation(name="of Ben", version="1")
    backend.config = structs.replace(
        backend.config, info=info, instructions="For Ben.", capabilities=more
    )
    scene.front.principal = Principal("ben")
    assert scene.call("echo") == "a: {}"
    assert len(backend.wires) > 1
    after = scene.relay.targets["a"].greeting
    assert after is not None
    assert (after.info, after.instructions) == (before.info, None)
    assert after.capabilities == more


def test_names_that_one_client_makes_up_keep_no_list_from_another() -> None:
    def shown(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.method != "tools/list":
            return tools(backend, peer, event)
        [whose] = [link.audience.principal for link, _, far in backend.wires if far is peer]
        names = ["hers"] if whose == "ben" else []
        peer.respond(event.key, {"tools": [{"name": each, "inputSchema": {}} for each in names]})

    backends = [Backend(each, MODERN, shown) for each in "ab"]
    backends[0].personal = True
    scene = Scene(MODERN, *backends, settings=RelaySettings(naming=Naming.NEVER))
    for _ in range(2):
        assert scene.error("tools/call", {"name": "made up"}).code == INVALID_PARAMS
    assert len(backends[0].requests("tools/list")) == 1
    scene.front.principal = Principal("ben")
    assert scene.call("hers") == "a: {}"


@pytest.mark.parametrize("is_personal", [True, False])
def test_nothing_is_said_of_mirrored_arguments_that_another_was_told_of(is_personal: bool) -> None:
    def shown(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        audiences = [link.audience for link, _, far in backend.wires if far is peer]
        header = {"ann": "Region", "ben": "Place"}.get(audiences[0].principal or "")
        argument = {"type": "string", **({"x-mcp-header": header} if header else {})}
        schema = {"type": "object", "properties": {"a": argument}}
        peer.respond(event.key, {"tools": [{"name": "r", "inputSchema": schema}]})

    backend = Backend("a", MODERN, shown)
    backend.personal = is_personal
    scene = Scene(MODERN, backend, settings=RelaySettings(naming=Naming.NEVER, names=2))

    def told(*names: str) -> list[bool]:
        for name in names:
            scene.front.principal = Principal(name)
            scene.result("tools/list")
        has = scene.relay.lists.has_mirrored
        return [has("r", Principal(name)) for name in ("ann", "ben", "eve")]

    if not is_personal:
        assert told("ann") == [True, True, True]
        return
    assert told("ann") == [True, False, False]
    assert told("ben") == [False, True, False]
    assert told("ann") == [True, False, False]


@cells
@pytest.mark.parametrize(("principal", "known_as"), [("ann", "ann"), (None, "")])
def test_a_client_has_a_conversation_of_its_own(
    client: str, server: str, principal: str | None, known_as: str
) -> None:
    """By it comes what its session hears; one that is not authenticated is not the relay."""
    backend = personal(server)
    scene = Scene(client, backend, principal=principal)
    assert scene.call("echo") == "a: {}"
    assert principals(backend) == [None, known_as]


def test_a_conversation_that_its_client_may_not_have_says_nothing_of_the_server() -> None:
    backend = personal(LEGACY)
    scene = Scene(MODERN, backend)
    assert scene.call("echo") == "a: {}"
    [_, (link, near, _)] = backend.wires
    link.refused = True
    target = scene.relay.targets["a"]
    target.open_links[""] = 1
    near.receive_eof(now=scene.now, reason="not with this token")
    scene.move()
    assert (target.away, target.fault) == (None, "")
