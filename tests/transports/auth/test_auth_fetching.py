"""Requests of an authorization: what they carry, what they refuse, and where they never go."""

import gzip
import ssl
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from mcpcore.auth.needs import Fetch, Fetched, NeedFailed
from mcpcore.auth.urls import parse_url
from mcpcore_transports.auth.fetching import Fetcher
from mcpcore_transports.http.client.proxies import Proxy
from mcpcore_transports.tls import client_tls, server_tls
from tests.clock import HOUR, Clock, arrived, patience, until
from tests.transports.auth.auth_site import Asked, answering, names, reply, site
from tests.transports.certificates import papers

pytestmark = pytest.mark.anyio


def need(url: str, **changed: Any) -> Fetch:
    given = {"method": "GET", "headers": {"accept": "application/json"}, "timeout": HOUR}
    return Fetch(url=url, **{**given, **changed})


async def fetched(url: str, *, local: bool = True, **changed: Any) -> Fetched | NeedFailed:
    settings = {name: changed.pop(name) for name in ("ssl_context", "proxy") if name in changed}
    with patience():
        return await Fetcher(local=local, **settings).fetch(need(url, **changed))


def reason(outcome: Fetched | NeedFailed) -> str:
    assert isinstance(outcome, NeedFailed), outcome
    return outcome.reason


async def test_a_request_is_sent_as_it_was_made_and_nothing_with_it() -> None:
    cookie = reply(b'{"a": 1}', 200, "Set-Cookie: a=b", "DPoP-Nonce: n1")
    async with site(answering(cookie)) as running:
        for _ in range(2):
            outcome = await fetched(
                f"{running.url}/token?x=%20y", method="POST", headers={"dpop": "p"}, body=b"a=b"
            )
            assert isinstance(outcome, Fetched)
            assert (outcome.status, outcome.body) == (200, b'{"a": 1}')
            assert outcome.header("dpop-nonce") == "n1"
    for asked in running.asked:
        assert (asked.method, asked.target, asked.body) == ("POST", "/token?x=%20y", b"a=b")
        assert sorted(asked.headers) == [
            ("accept-encoding", "identity"),
            ("connection", "close"),
            ("content-length", "3"),
            ("dpop", "p"),
            ("host", f"127.0.0.1:{running.port}"),
            ("user-agent", "mcpcore"),
        ]
    assert running.connections == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_redirect_is_followed(status: int, method: str) -> None:
    async with site(answering(reply())) as target:
        moved = reply(b"", status, f"Location: {target.url}/other")
        async with site(answering(moved)) as running:
            outcome = await fetched(f"{running.url}/token", method=method, body=b"code=secret")
    assert isinstance(outcome, Fetched)
    assert outcome.status == status
    assert len(running.asked) == 1
    assert target.connections == 0


async def _without_end(_: Asked, stream: ByteStream) -> None:
    await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await stream.send(bytes(65536))


async def _without_end_in_chunks(_: Asked, stream: ByteStream) -> None:
    await stream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await stream.send(b"10000\r\n" + bytes(65536) + b"\r\n")


BOMB = gzip.compress(bytes(1 << 20))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (answering(b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n"), "larger than 1000"),
        (_without_end, "larger than 1000"),
        (_without_end_in_chunks, "larger than 1000"),
        (answering(reply(bytes(1001))), "larger than 1000"),
        (answering(reply(BOMB, 200, "content-encoding: gzip")), "compressed"),
        (answering(reply(BOMB, 200, "content-encoding: identity, br")), "compressed"),
        (answering(b"HTTP/1.1 200 OK\r\nx: " + bytes(100_000)), "malformed"),
        (answering(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 30_000 + b"\r\n"), "malformed"),
        (answering(b"SSH-2.0-hello\r\n\r\n"), "malformed"),
        (answering(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), "malformed"),
        (answering(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "malformed"),
        (answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"), "malformed|closed"),
        (answering(b""), "closed"),
    ],
)
async def test_a_response_out_of_bounds_is_a_fault(answer: Any, why: str) -> None:
    async with site(answer) as running:
        outcome = await fetched(running.url, limit=1000)
        assert any(each in reason(outcome) for each in why.split("|")), outcome


async def test_a_response_of_just_the_limit_is_taken() -> None:
    async with site(answering(reply(bytes(1000)))) as running:
        outcome = await fetched(running.url, limit=1000)
    assert isinstance(outcome, Fetched)
    assert outcome.body == bytes(1000)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\ncontent-", reply(bytes(9))[:-4]])
async def test_time_counts_in_all(start: bytes, clock: Clock) -> None:
    streams: list[ByteStream] = []

    async def drip(_: Asked, stream: ByteStream) -> None:
        if start:
            await stream.send(start)
        streams.append(stream)
        await anyio.sleep_forever()

    outcomes: list[Fetched | NeedFailed] = []

    async def run() -> None:
        outcomes.append(await Fetcher(local=True).fetch(need(running.url, timeout=HOUR)))

    async with site(drip) as running, anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await until(lambda: streams)
        await clock.skip(HOUR / 2)
        await streams[0].send(b"x" if start.startswith(b"HTTP") else b"H")
        await arrived(streams[0])
        assert not outcomes
        await clock.skip(HOUR / 2 + 1)
        await until(lambda: outcomes)
    assert "took more than 3600 s" in reason(outcomes[0])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://id.example/", "not an https"),
        ("https://10.0.0.1/", "not a public"),
        ("https://[::ffff:10.0.0.1]/", "not a public"),
        ("https://0x7f.1/", "valid IP"),
        ("https://2130706433/", "valid IP"),
        ("https://user@id.example/", "not a plain"),
        ("file:///etc/passwd", "not a plain"),
        ("gopher://id.example/", "not a plain"),
        ("https://localhost/", "this machine"),
        ("https://127.0.0.1/", "this machine"),
    ],
)
async def test_a_url_against_the_policy_is_not_fetched(url: str, why: str) -> None:
    assert why in reason(await fetched(url, local=False))


PRIVATE = [
    "10.0.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.168.1.1",
    "0.0.0.0",
    "::1",
    "fc00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
]


@pytest.mark.parametrize("address", PRIVATE)
async def test_a_name_with_a_private_address_is_not_connected_to(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, {"id.example": ["93.184.215.14", address]})
    async with site(answering(reply())) as running:
        outcome = await fetched(f"https://id.example:{running.port}/", local=False, timeout=60)
    assert "not public" in reason(outcome)
    assert running.connections == 0


@pytest.mark.parametrize("address", PRIVATE)
async def test_private_networks_are_open_to_those_who_say_so(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, {"id.example": [address]})
    fetcher = Fetcher(local=False, private=True)
    network = address in ("10.0.0.1", "100.64.0.1", "192.168.1.1", "fc00::1", *PRIVATE[-2:])
    assert fetcher._allowed(address, parse_url("https://id.example/", "it")) is network
    if not network:
        with patience():
            outcome = await fetcher.fetch(need("https://id.example/"))
        assert "not public" in reason(outcome)
        assert "private" not in reason(outcome)
    hint = reason(await fetched("https://id.example/", local=False))
    assert ("the setting `private` allows" in hint) is network


async def test_a_local_server_opens_loopback_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names(monkeypatch, {"id.example": ["10.0.0.1"], "localhost": ["93.184.215.14"]})
    assert "not public" in reason(await fetched("https://id.example/"))
    assert "not public" in reason(await fetched("http://localhost/"))


async def test_the_checked_address_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"id.example": ["127.0.0.1"]}
    looked_up = names(monkeypatch, table)
    context = server_tls(papers().trusted.issue("id.example"))
    trusting = client_tls(ca=papers().trusted.file)
    async with site(answering(reply(b"ok")), context) as running:
        url = f"https://id.example:{running.port}/a"
        outcome = await fetched(url, ssl_context=trusting)
        assert isinstance(outcome, Fetched), outcome
        assert looked_up == ["id.example"]  # once: no second answer can be another one
        assert running.asked[0].header("host") == f"id.example:{running.port}"
        table["other.example"] = ["127.0.0.1"]
        outcome = await fetched(url.replace("id.", "other."), ssl_context=trusting)
    assert "certificate is not accepted" in reason(outcome)
    assert len(running.asked) == 1


async def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, {"id.example": ["127.0.0.2", "127.0.0.1"]})
    context = server_tls(papers().trusted.issue("id.example"))
    async with site(answering(reply(b"ok")), context) as running:
        url = f"https://id.example:{running.port}/"
        outcome = await fetched(url, ssl_context=client_tls(ca=papers().trusted.file))
    assert isinstance(outcome, Fetched), outcome


async def test_unknown_and_closed_hosts_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(answering(reply())) as running:
        pass
    assert "refused" in reason(await fetched(running.url))
    names(monkeypatch, {"none.example": []})
    assert "unknown host" in reason(await fetched("https://none.example/"))


@pytest.mark.parametrize("shown", [True, False])
async def test_the_certificate_of_the_client_is_shown(shown: bool) -> None:
    ca = papers().trusted.file
    context: ssl.SSLContext = server_tls(papers().server, client_ca=ca)
    async with site(answering(reply()), context) as running:
        own = client_tls(ca=ca, cert=papers().client if shown else None)
        outcome = await fetched(f"https://127.0.0.1:{running.port}/", ssl_context=own)
    assert isinstance(outcome, Fetched) is shown


async def test_the_proxy_of_the_client_is_used() -> None:
    def by(port: int) -> Proxy:
        return Proxy(host="127.0.0.1", port=port, authorization=b"Basic eDp5")

    async with site(answering(reply(b"ok"))) as running:
        outcome = await fetched("http://localhost:1/a", proxy=by(running.port))
    assert isinstance(outcome, Fetched), outcome
    assert running.asked[0].target == "http://localhost:1/a"
    assert running.asked[0].header("proxy-authorization") == "Basic eDp5"
    async with site(answering(reply(b"", 407))) as running:
        outcome = await fetched("https://id.example/", local=False, proxy=by(running.port))
        assert "status 407" in reason(outcome)
        assert (running.asked[0].method, running.asked[0].target) == ("CONNECT", "id.example:443")
        outcome = await fetched("http://localhost:1/a", proxy=by(running.port))
        assert "the proxy" in reason(outcome)


async def test_no_proxy_elsewhere_reads_what_is_for_this_machine() -> None:
    elsewhere = Proxy(host="proxy.example", port=1)
    outcome = await fetched("http://localhost:1/token", proxy=elsewhere, body=b"code=secret")
    assert "it is not an https URL, and proxy.example:1 is its proxy" in reason(outcome)


async def test_a_header_of_the_client_of_a_cgi_program_is_no_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names(monkeypatch, {"id.example": ["127.0.0.1"]})
    async with site(answering(reply())) as running:
        for name in ("HTTP_PROXY", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("REQUEST_METHOD", "GET")
        monkeypatch.setenv("HTTP_PROXY", running.url)
        await fetched("http://localhost:1/")
    assert running.connections == 0


async def test_a_cancelled_request_leaves_no_connection() -> None:
    async def hang(_: Asked, stream: ByteStream) -> None:
        await stream.receive()

    async with site(hang) as running:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Fetcher(local=True).fetch, need(running.url))
            await until(lambda: running.asked)
            tasks.cancel_scope.cancel()
        await until(lambda: running.lost)
