"""The public names of the HTTP machines, literally: a change of them is one of the interface."""

import re
from pathlib import Path

import pytest

from mcpcore import Config, HttpClient, HttpServer, Implementation, LocalProtocolError
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities

SERVER = """
    address admit ask asks_who body calls cancel close close_get_streams close_stream data_to_send
    deadline declare disconnect end_subscription exchanges fail failing finished forbid
    handle_timeout log narrow next_event note notify open pending post_note progress queued
    reachable readable ready release reports request require_input respond sessions settings
    state_of stored tell_refused timed waits wants_log wants_progress whole_reply worker writable
"""
CLIENT = """
    abandon admit cancel close deadline end exchanges fail give_up_exchange handle_timeout
    has_input next_event notify parked postpone
    progress reconnects release renounce request requests_to_send respond response_data
    response_end response_head retry retry_exchange revision session settings start
    state stream_fault succeed url uses_sse
"""
INFO = Implementation(name="names", version="1")
SERVING = Config(info=INFO, capabilities=ServerCapabilities())
SECRET = bytes(32)


def public(machine: object) -> list[str]:
    return [name for name in dir(machine) if not name.startswith("_")]


def test_a_server_has_these_names() -> None:
    assert public(HttpServer(SERVING, secret=SECRET)) == SERVER.split()


def test_without_a_store_nothing_comes_from_one() -> None:
    server = HttpServer(SERVING, secret=SECRET)
    with pytest.raises(LocalProtocolError, match="in no store"):
        server.stored(1, None, now=0.0)
    with pytest.raises(LocalProtocolError, match="in no store"):
        server.note(b"{}", now=0.0)


def test_a_client_has_these_names() -> None:
    config = Config(info=INFO, capabilities=ClientCapabilities())
    assert public(HttpClient(config, "http://127.0.0.1/mcp")) == CLIENT.split()


@pytest.mark.parametrize(("name", "names"), [("HttpServer", SERVER), ("HttpClient", CLIENT)])
def test_each_is_in_the_reference(name: str, names: str) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/embedding.md").read_text(encoding="utf-8")
    section = page.partition(f"## {name}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = [found for row in rows for found in re.findall(r"`(\w+)", row)]
    assert sorted(named) == sorted([*names.split(), name])
