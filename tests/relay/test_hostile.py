"""Messages of any form, of a client and of a server: none of them raises in the relay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from mcpcore.engine import Peer
from mcpcore.engine.events import RequestReceived
from mcpcore.relay.names import Naming
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.methods import METHODS
from tests.relay.bench import CELLS, Backend, relayed

LISTS = ["tools", "prompts", "resources", "resourceTemplates", "contents", "content", "messages"]
KEYS = [*LISTS, "uri", "name", "cursor", "mode", "ref", "task", "taskId", "level", "data"]
KEYS += ["inputRequests", "requestState", "resultType", "structuredContent", "ttlMs", "requestId"]
KEYS += ["nextCursor", "progressToken", "progress", "notifications", "inputResponses", "n\\u0061me"]
ODD = st.sampled_from(["5", "null", "1e400", "[]", "{}", '"x"', "[5]", "[{}]", '"input_required"'])
VALUES = ODD | st.builds(
    "[{}, {}]".format, ODD, st.builds('{{"name":{},"uri":{}}}'.format, ODD, ODD)
)
MEMBERS = st.builds('"{}":{}'.format, st.sampled_from(KEYS), VALUES)
METAS = st.just("") | st.builds('"_meta":{},"k":1'.format, ODD)
BODIES = st.builds(
    lambda members, meta: f"{{{','.join(filter(None, (meta, *members)))}}}",
    st.lists(MEMBERS, max_size=4),
    METAS,
)
KNOWN = sorted(row.name for row in METHODS)
NAMES = st.sampled_from(KNOWN) | st.sampled_from(
    ["acme/x", "notifications/acme", *(name for name in KNOWN if "_changed" in name)]
)
STEPS = st.tuples(st.sampled_from(["client", "server", "answer", "wait"]), NAMES, BODIES)


@pytest.mark.parametrize(("client", "server"), CELLS)
@given(naming=st.sampled_from(Naming), steps=st.lists(STEPS, min_size=3, max_size=12))
def test_no_message_raises(
    client: str, server: str, naming: Naming, steps: list[tuple[str, str, str]]
) -> None:
    asked: list[tuple[Peer, RequestReceived]] = []

    def answer(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        asked.append((peer, event))

    scene, backend = relayed(client, server, answer, settings=RelaySettings(naming=naming))
    scene.answers = None
    for number, (side, method, body) in enumerate(steps):
        id = "" if method.startswith("notifications/") else f'"id":"{number}",'
        line = f'{{"jsonrpc":"2.0",{id}"method":"{method}","params":{body}}}\n'.encode()
        if side == "wait":
            scene.wait(1.0)
        elif side == "client":
            scene.front.receive_data(line, now=scene.now)
        elif side == "server":
            backend.wires[-1][1].receive_data(line, now=scene.now)
        elif asked:
            far, event = asked.pop()
            result = b'{"jsonrpc":"2.0","id":%b,"result":%b}\n'
            line = result % (json.encode(event.id), body.encode())
            next(near for _, near, each in backend.wires if each is far).receive_data(
                line, now=scene.now
            )
        scene.move()
    scene.wait(1.0)
