"""HttpClient and HttpServer against each other: both eras, over a wire that cuts anywhere."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpcore import ErrorData, HttpClientSettings, HttpSettings
from mcpcore.engine.events import (
    ErrorReceived,
    Event,
    ProgressReceived,
    Ready,
    RequestReceived,
    ResultReceived,
)
from mcpcore.spec.revisions import MODERN as MODERN_ROWS
from mcpcore.spec.revisions import REVISIONS
from tests.http.support import MODERN, Wire, make_client, make_server

BY_NAME = {revision.name: revision for revision in REVISIONS}
NAMES = [*BY_NAME]


def joined(
    version: str,
    *,
    sizes: tuple[int, ...] = (1 << 20,),
    server_settings: HttpSettings | None = None,
    client_settings: HttpClientSettings | None = None,
    **server: Any,
) -> Wire:
    """A client of one revision and a server of all, negotiated."""
    client = make_client(client_settings, revisions=(BY_NAME[version],))
    wire = Wire(client, make_server(server_settings, **server), sizes=sizes)
    wire.start()
    (ready,) = wire.client_saw(Ready)
    assert ready.revision.name == version
    return wire


def call(wire: Wire, method: str = "tools/call", params: Any = None, **options: Any) -> Any:
    default = {"name": "echo", "arguments": {}}
    return wire.client.request(
        method, default if params is None else params, now=wire.now, **options
    )


# The same work in every revision, over a wire that cuts anywhere


@pytest.mark.parametrize("version", NAMES)
@settings(max_examples=40)
@given(sizes=st.lists(st.integers(1, 90), min_size=1, max_size=8))
def test_calls_with_progress_over_any_wire(version: str, sizes: list[int]) -> None:
    wire = joined(version, sizes=tuple(sizes))

    def react(event: Event) -> None:
        if isinstance(event, RequestReceived):
            for value in (1, 2):
                told = wire.server.progress(event.key, value, 2, "ü\n")
                assert told is (event.method == "tools/call")
            if b"bad" in bytes(event.params):
                wire.server.fail(event.key, ErrorData(-32602, "bäd"))
            else:
                wire.server.respond(event.key, {"content": [], "text": "ä€😀" * 20})

    wire.on_server = react
    good = call(wire, progress=True)
    bad = call(wire, params={"name": "bad", "arguments": {}}, progress=True)
    plain = call(wire, "tools/list", {})
    wire.run()
    results = {event.request: event for event in wire.client_saw(ResultReceived)}
    assert set(results) == {good, plain}
    assert "ä€😀".encode() in bytes(results[good].result)
    (error,) = wire.client_saw(ErrorReceived)
    assert (error.request, error.error.message) == (bad, "bäd")
    progress = [(event.request, event.progress) for event in wire.client_saw(ProgressReceived)]
    assert sorted(progress) == [(good, 1), (good, 2), (bad, 1), (bad, 2)]
    assert wire.client_events.index(results[good]) > wire.client_events.index(
        wire.client_saw(ProgressReceived)[1]
    )
    assert wire.client.exchanges == wire.server.exchanges == (version != MODERN)


# Mirrored headers


@given(
    name=st.text(st.characters(codec="utf-8"), max_size=20),
    value=st.one_of(
        st.text(st.characters(codec="utf-8"), max_size=20),
        st.integers(-(2**53) + 1, 2**53 - 1),
        st.booleans(),
        st.none(),
    ),
)
def test_any_name_and_argument_survives_mirroring(name: str, value: Any) -> None:
    table = {name: {"Value": ("deep", "value")}}
    client = make_client(revisions=MODERN_ROWS, header_params=table)
    wire = Wire(client, make_server(header_params=table))
    wire.start()
    call(wire, params={"name": name, "arguments": {"deep": {"value": value}}})
    wire.run()
    assert len(wire.server_saw(RequestReceived)) == 1
    head = wire.sent[-1].headers
    assert all(b"\r" not in text and b"\n" not in text for _, text in head)
