"""`mcpcore serve --limit` and `--log-http`: what is taken, what is refused, what comes of it."""

import re
from functools import reduce
from typing import Any

import httpx
import pytest

from mcpcore_transports.commands.output import Exit, Failure
from mcpcore_transports.commands.serve import LIMITS, SIZES, limited
from mcpcore_transports.running.audit import session_label
from mcpcore_transports.serve.settings import ServeSettings
from mcpcore_transports.stores.base import StoreSettings
from tests.docs.blocks import ROOT
from tests.transports.http_fixture import hello
from tests.transports.serving import serving
from tests.warm import PYTHON

HTTP = ("--http",)
EVERYTHING = ("--stdio", "--http", "--ws", "--websocket", "--sse", "--tcp", "--unix")
PLACES = {
    "HttpSettings": ("http",),
    "HttpServerSettings": ("http_link",),
    "Limits": ("runtime.limits",),
    "RuntimeSettings": ("runtime",),
    "WebSocketSettings": ("websocket",),
    "SocketSettings": ("socket",),
    "StdioSettings": ("stdio",),
    "ConnectionSettings": ("stdio.connection", "websocket.connection", "socket.connection"),
}
"""Where in a server's settings a class is found."""


def at(settings: ServeSettings, path: str) -> Any:
    return reduce(getattr, path.split("."), settings)


def found(settings: ServeSettings, whole: str) -> list[Any]:
    """What a setting is, everywhere it is found."""
    kind, name = whole.split(".")
    return [at(settings, f"{place}.{name}") for place in PLACES[kind]]


def refusal(*limits: str, serving: tuple[str, ...] = HTTP) -> str:
    with pytest.raises(Failure) as caught:
        limited(ServeSettings(), limits, serving=serving)
    assert caught.value.status is Exit.USAGE
    return str(caught.value)


def test_what_is_left_to_the_store_is_an_option_of_stores() -> None:
    refused = []
    for whole in LIMITS:
        try:
            limited(ServeSettings(), [f"{whole}=77"], serving=(*EVERYTHING, "--store"))
        except Failure as failure:
            refused += re.findall(r"--store URL\?(\w+)=", str(failure))
    assert len(refused) == 8
    assert set(refused) <= set(StoreSettings.__struct_fields__)


@pytest.mark.parametrize("whole", LIMITS)
def test_every_limit_can_be_set_and_nothing_else_changes(whole: str) -> None:
    before = ServeSettings()
    store = whole.startswith("HttpSettings.store_") or whole.endswith(("_touch", "_replica_idle"))
    serving = (*EVERYTHING, "--store") if store else EVERYTHING
    after = limited(before, [f"{whole}=77"], serving=serving)
    kind, name = whole.split(".")
    assert found(after, whole) == [77] * len(PLACES[kind])
    assert {type(value) for value in found(after, whole)} == {LIMITS[whole].type}
    for other in LIMITS:
        if other != whole:
            assert found(after, other) == found(before, other), other
    assert name not in ("mode", "probe_timeout")


def test_limits_of_one_class_and_of_several_go_together() -> None:
    given = ["max_body=1M", "max_sessions=5", "in_flight=6", "input_rounds=7", "connections=8"]
    after = limited(ServeSettings(), given, serving=HTTP)
    assert (after.http.max_body, after.http.max_sessions) == (2**20, 5)
    assert (after.runtime.limits.in_flight, after.runtime.input_rounds) == (6, 7)
    assert after.http_link.connections == 8
    assert after.http.sessions_per_client == ServeSettings().http.sessions_per_client


@pytest.mark.parametrize(
    ("given", "whole", "value"),
    [
        ("max_body=65536", "HttpSettings.max_body", 65536),
        ("max_body=64K", "HttpSettings.max_body", 65536),
        ("max_body=3M", "HttpSettings.max_body", 3 * 2**20),
        ("replay_total=2G", "HttpSettings.replay_total", 2**31),
        ("heartbeat=0.5", "HttpSettings.heartbeat", 0.5),
        ("heartbeat=none", "HttpSettings.heartbeat", None),
        ("turned_away=0", "HttpServerSettings.turned_away", 0),
        ("drain_time=0", "HttpServerSettings.drain_time", 0.0),
        ("HttpServerSettings.connections=20000", "HttpServerSettings.connections", 20_000),
    ],
)
def test_values(given: str, whole: str, value: float | None) -> None:
    assert found(limited(ServeSettings(), [given], serving=HTTP), whole) == [value]


@pytest.mark.parametrize(
    ("given", "serving", "message"),
    [
        ("max_body", HTTP, "takes NAME=VALUE, not 'max_body'"),
        ("=5", HTTP, "there is no limit ''"),
        ("conections=5", HTTP, "did you mean connections"),
        ("max-body=5", HTTP, "did you mean max_body?"),
        ("sessions=5", HTTP, "did you mean max_sessions"),
        ("HttpSetings.max_body=5", HTTP, "did you mean HttpSettings.max_body"),
        ("HttpSettings.path=5", HTTP, "there is no limit 'HttpSettings.path'"),
        ("xyzzy=5", HTTP, "docs/reference/limits.md has a list of them"),
        ("probe_timeout=5", HTTP, "there is no limit 'probe_timeout'"),
        ("mode=5", ("--unix",), "there is no limit 'mode'"),
        ("connections=5", (*HTTP, "--tcp"), "could be HttpServerSettings.connections or Socket"),
        (
            "queued=5",
            ("--stdio",),
            "could be Limits.queued or ConnectionSettings.queued; say which",
        ),
        ("SocketSettings.connections=5", HTTP, "does nothing without --tcp or --unix"),
        ("max_connections=5", HTTP, "does nothing without --websocket or --ws"),
        ("max_body=5", ("--stdio",), "does nothing without --http or --sse"),
        ("ConnectionSettings.drain=5", HTTP, "--stdio, --tcp, --unix, --websocket or --ws"),
        ("message_size=5", HTTP, "--stdio, --tcp, --unix, --websocket or --ws"),
        ("listen_streams=5", HTTP, "does nothing without"),
        ("store_timeout=5", HTTP, "does nothing without --store or --workers"),
        ("authenticate_time=5", HTTP, "there is no limit 'authenticate_time'"),
        ("sessions_per_client=5", (*HTTP, "--store"), "--store URL?sessions_per_client=..."),
        ("session_idle=5", (*HTTP, "--workers"), "is up to the store: --store URL?idle=..."),
        ("max_body=", HTTP, "expected a number of bytes, such as 65536, 64K or 4M, above 0"),
        ("max_body=0", HTTP, "above 0, not '0'"),
        ("max_body=-1", HTTP, "not '-1'"),
        ("max_body=1.5M", HTTP, "not '1.5M'"),
        ("max_body=4m", HTTP, "not '4m'"),
        ("max_body=none", HTTP, "not 'none'"),
        ("max_body=\u0663", HTTP, "expected a number of bytes"),
        ("max_body=999999999999999G", HTTP, "expected a number of bytes"),
        ("connections=4K", HTTP, "expected a whole number, above 0, not '4K'"),
        ("heartbeat=0", HTTP, "seconds, such as 30 or 0.5, above 0, or none, not '0'"),
        ("heartbeat=0.0", HTTP, "not '0.0'"),
        ("heartbeat=inf", HTTP, "not 'inf'"),
        ("heartbeat=nan", HTTP, "not 'nan'"),
        ("heartbeat=1e3", HTTP, "not '1e3'"),
        ("heartbeat=30s", HTTP, "not '30s'"),
        ("heartbeat=999999999999", HTTP, "expected seconds"),
    ],
)
def test_what_is_refused(given: str, serving: tuple[str, ...], message: str) -> None:
    assert message in refusal(given, serving=serving)


def test_twice_is_once_too_often() -> None:
    said = refusal("max_body=5", "HttpSettings.max_body=6")
    assert said == "--limit HttpSettings.max_body is given twice"


def test_what_counts_bytes_is_what_the_pages_say() -> None:
    pages = " ".join(
        (ROOT / "docs" / name).read_text(encoding="utf-8")
        for name in ("reference/limits.md", "how-to/sockets.md")
    )
    rows = re.findall(r"`(\w+\.\w+)`[^|]*\| [\d,.]+ (KiB|MiB)", pages)
    for whole, _ in rows:
        if whole in LIMITS:
            assert LIMITS[whole].name in SIZES, whole
    assert len(rows) > 10


@pytest.mark.parametrize("page", ["reference/limits.md", "how-to/scaling.md"])
def test_what_the_pages_show_is_taken(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    shown = [each for each in re.findall(r"--limit ([\w.]+=[\w.]+)", text) if "..." not in each]
    for each in shown:
        limited(ServeSettings(), [each], serving=("--http", "--websocket"))
    assert len(shown) > 3


# The command


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_every_worker_has_the_limits_and_writes_the_log() -> None:
    words = ("--limit", "max_body=200", "--limit=depth=3", "--log-http", "--workers", "2")
    async with serving("--http", "127.0.0.1:0", *words, python=PYTHON) as served:
        # A connection each, which the kernel spreads.
        headers = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "Connection": "close",
        }
        async with httpx.AsyncClient(headers=headers) as client:
            for _ in range(16):
                response = await client.post(served.url, content=b"x" * 201)
                assert response.status_code == 413
                assert "larger than 200 bytes" in response.text
                response = await client.post(served.url, content=b"[[[[[[]]]]]]")
                assert "-32700" in response.text
        await served.until("POST /mcp 413 in ")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_log_of_http_names_session_and_request() -> None:
    words = ("--log-http", "-v", "--loop", "asyncio")  # which says something at its start
    async with serving("--http", "127.0.0.1:0", *words, python=PYTHON) as served:
        headers = {"Accept": "application/json, text/event-stream"}
        params = hello() | {"clientInfo": {"name": "x y", "version": "1"}}
        call = {"jsonrpc": "2.0", "id": 'a "b"\n', "method": "initialize", "params": params}
        async with httpx.AsyncClient(headers=headers) as client:
            response = await client.post(served.url, json=call)
            assert response.status_code == 200
            session = response.headers["mcp-session-id"]
            headers = {"Mcp-Session-Id": session}
            assert (await client.delete(served.url, headers=headers)).status_code == 204
        label = session_label(session)
        await served.until("DELETE /mcp 204 in ")
        await served.until(f"session {label} closed: ")
    lines = served.said.splitlines()
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "
    for pattern in (
        rf"{stamp}session {label} opened session={label}",
        rf"{stamp}session {label} closed: ended by the client session={label}",
        rf"{stamp}POST /mcp initialize 200 in [\d.]+ ms session={label} "
        r"""request_id='a "b"\?' peer=127\.0\.0\.1:\d+""",
        rf"{stamp}DELETE /mcp 204 in [\d.]+ ms session={label} peer=127\.0\.0\.1:\d+",
    ):
        assert sum(bool(re.fullmatch(pattern, line)) for line in lines) == 1, (pattern, lines)
    assert "mcpcore.http: " not in served.said  # nor once more among the other log messages
    assert "DEBUG " in served.said
    assert session not in served.said


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--http", "127.0.0.1:0", "--limit", "conections=5", "--workers", "2"), "did you mean"),
        (("--stdio", "--log-http"), "--log-http is for --http and --sse"),
    ],
)
async def test_the_command_says_what_is_wrong_once(words: tuple[str, ...], message: str) -> None:
    async with serving(*words, ready=False, python=PYTHON) as served:
        assert await served.ended() == 2
        await served.until(message)
    assert served.said.count(message) == 1
