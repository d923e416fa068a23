"""Faults of clients: what the kit hears and what clients are told is edited, nothing else."""

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from conformance.mutants.client_fault import ClientFault, FaultyHost, FaultyHostWire, Value, behind
from conformance.mutants.client_faults import (
    adds,
    adds_to_answers,
    also_asks,
    answers,
    deaf_to,
    exits,
    gives_up,
    heads,
    never_says,
    params_of,
    precedes,
    repaired,
    reports,
    says,
    with_header,
    without_header,
)
from conformance.mutants.client_faults import header as edits_header
from conformance.mutants.client_recorded import Recorder, changes
from mcpcore_conformance.kit.client_wire import Asked, Came, Ended
from mcpcore_conformance.kit.heard import Gone, Headers, Text, header
from mcpcore_conformance.kit.hosts.http import HttpHost
from mcpcore_conformance.kit.hosts.lines import TcpHost
from mcpcore_conformance.kit.messages import error, notification, request, result
from mcpcore_conformance.kit.model import Binding
from tests.clock import patience

pytestmark = pytest.mark.anyio
Make = Callable[[], ClientFault]
CALL = request(1, "tools/call", {"name": "echo"})
READY = notification("notifications/initialized")


class Ends:
    """Both ends of a connection behind a fault."""

    def __init__(self, host: FaultyHost, wire: FaultyHostWire, stream: ByteStream) -> None:
        self.host = host
        self.wire = wire
        self.stream = stream

    async def say(self, *values: Any) -> list[Any]:
        """Let the client say something; returns what the kit hears, up to a mark."""
        lines = [*values, {"mark": True}]
        await self.stream.send(b"".join(json.dumps(each).encode() + b"\n" for each in lines))
        found: list[Any] = []
        while True:
            heard = await self.host.hear(10.0)
            assert heard is not None
            assert isinstance(heard[1], Text)
            try:
                value = json.loads(heard[1].data)
            except ValueError:
                value = heard[1].data
            if value == {"mark": True}:
                return found
            found.append(value)

    async def tell(self, *values: Any) -> list[Any]:
        """Let the kit say something; returns what the client hears, up to a mark."""
        for each in values:
            if isinstance(each, bytes):
                await self.wire.write(each + b"\n")
            else:
                await self.wire.say(json.dumps(each).encode())
        await self.wire.say(b'{"mark":true}')
        data = b""
        with patience():
            while b'{"mark":true}\n' not in data:
                data += await self.stream.receive()
        lines = data.removesuffix(b'{"mark":true}\n').splitlines()
        return [json.loads(each) if each.startswith(b"{") else each for each in lines]


@asynccontextmanager
async def ends(make: Make) -> AsyncIterator[Ends]:
    async with TcpHost() as made, await anyio.connect_tcp("127.0.0.1", made.port) as stream:
        host = behind(make).host(made)
        assert isinstance(host, FaultyHost)
        heard = await host.hear(10.0)
        assert heard is not None
        assert isinstance(heard[0], FaultyHostWire)
        assert isinstance(heard[1], Came)
        yield Ends(host, heard[0], stream)


async def test_a_fault_without_effect_changes_nothing() -> None:
    async with ends(ClientFault) as both:
        said = [CALL, [CALL, READY], READY, result("x", {}), error("y", 1, "no")]
        assert await both.say(*said) == said
        assert await both.tell(CALL, result(1, {}), b"\xff") == [CALL, result(1, {}), b"\xff"]
        await both.stream.aclose()
        found = await both.host.hear(10.0)
        assert found is not None
        assert isinstance(found[1], Gone)


Heard = list[Any]


def _named(value: Value) -> Value:
    return {**value, "edited": True}


@pytest.mark.parametrize(
    ("make", "heard"),
    [
        (says("tools/call", _named), [_named(CALL), READY]),
        (says("", lambda value: None), []),
        (says("tools/call", lambda value: b"raw"), [b"raw", READY]),
        (adds("tools/call", _named), [CALL, _named(CALL), READY]),
        (precedes("tools/call", _named), [_named(CALL), CALL, READY]),
        (never_says("notifications/initialized"), [CALL]),
        (
            params_of("tools/call", lambda params: {**params, "name": "x"}),
            [request(1, "tools/call", {"name": "x"}), READY],
        ),
    ],
)
async def test_what_a_client_says_is_edited(make: Make, heard: Heard) -> None:
    async with ends(make) as both:
        assert await both.say(CALL, READY) == heard


@pytest.mark.parametrize(
    ("make", "heard"),
    [
        (answers("ping", _named), [_named(result("p", {})), result("r", {})]),
        (
            adds_to_answers("ping", _named),
            [result("p", {}), _named(result("p", {})), result("r", {})],
        ),
        (never_says("ping"), [result("r", {})]),
        (says("ping", _named), [result("p", {}), result("r", {})]),
    ],
)
async def test_answers_are_told_apart_by_what_was_asked(make: Make, heard: Heard) -> None:
    async with ends(make) as both:
        await both.tell([request("p", "ping")], request("r", "roots/list"))
        assert await both.say(result("p", {}), result("r", {})) == heard


def test_answers_to_anything_are_edited() -> None:
    fault = answers("", _named)()
    assert [*fault.said(result(1, {}))] == [_named(result(1, {}))]
    assert [*fault.said(CALL)] == [CALL]


async def test_parts_of_batches_are_edited_as_well() -> None:
    async with ends(never_says("ping")) as both:
        await both.tell(request(1, "ping"))
        assert await both.say([result(1, {}), result(2, {})]) == [[result(2, {})]]


async def test_what_a_client_is_told_is_edited() -> None:
    concerns: Callable[[Value], bool] = lambda value: value.get("id") == 1  # noqa: E731
    async with ends(repaired(concerns, _named)) as both:
        assert await both.tell(result(1, {}), result(2, {})) == [
            _named(result(1, {})),
            result(2, {}),
        ]
    async with ends(deaf_to(concerns)) as both:
        assert await both.tell(result(1, {}), result(2, {})) == [result(2, {})]


class Answers(ClientFault):
    """Answers in the client's place, and lets no noise through."""

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if value is None:
            return None
        if value.get("method") == "ping":
            self.invent(result(value["id"], {"by": "the fault"}))
        return payload


async def test_a_fault_says_something_in_the_clients_place() -> None:
    async with ends(Answers) as both:
        assert await both.tell(request(7, "ping"), b"noise") == [request(7, "ping")]
        heard = await both.host.hear(10.0)
        assert heard is not None
        assert heard[0] is both.wire
        assert isinstance(heard[1], Text)
        assert json.loads(heard[1].data) == result(7, {"by": "the fault"})


async def end(host: FaultyHost, code: int) -> int | None:
    host.put(None, Ended(code))
    while True:
        heard = await host.hear(10.0)
        assert heard is not None
        if isinstance(heard[1], Ended):
            return heard[1].code


async def test_giving_up_is_an_end_with_an_error() -> None:
    async with ends(exits(5)) as both:
        assert await end(both.host, 0) == 5
    concerns: Callable[[Any, bytes], bool] = lambda value, payload: b"odd" in payload  # noqa: E731
    async with ends(gives_up(concerns)) as both:
        await both.tell(result(1, {}))
        assert await end(both.host, 0) == 0
        await both.tell(b"odd")
        assert await end(both.host, 0) == 1


def written(make: Make, report: Any) -> Any:
    found = behind(make).report(json.dumps(report).encode())
    return None if found is None else json.loads(found)


@pytest.mark.parametrize(
    ("make", "changed"),
    [
        (ClientFault, False),
        (says("ping", _named), False),
        (says("tools/call", _named), True),
        (answers("roots/list", _named), True),
        (never_says("notifications/initialized"), True),
        (deaf_to(lambda value: value.get("id") == "r"), True),
        (deaf_to(lambda value: value.get("id") == "other"), False),
        (exits(0), False),
        (exits(1), True),
        (reports(0, {"result": 1}), False),
        (reports(0, {"result": 2}), True),
        (without_header("x"), True),
        (without_header("y"), False),
        (Answers, False),
    ],
)
def test_a_fault_is_held_against_what_was_recorded(make: Make, changed: bool) -> None:
    recorder = Recorder()
    asked = Asked(1, "POST", "/mcp", [("x", "1")])
    assert [*recorder.asked(asked)] == [asked]
    assert [*recorder.said(CALL)] == [CALL]
    assert [*recorder.said(READY)] == [READY]
    question = request("r", "roots/list")
    assert recorder.told(question, b"as it is") == b"as it is"
    assert [*recorder.said(result("r", {}))] == [result("r", {})]
    recorder.replied(202)
    assert [*recorder.other(Ended(0))] == [Ended(0)]
    report: Value = {"steps": [{"result": 1}]}
    assert recorder.report(report) == report
    assert changes(make, recorder.passed) is changed
    assert changes(make, recorder.passed) is changed, "what was recorded is not used up"


def test_reports_are_edited() -> None:
    good: Value = {"opened": {}, "steps": [{"result": 1}, {"result": 2}]}
    assert written(ClientFault, good) == good
    assert written(reports(1, {"failure": "timeout"}), good)["steps"] == [
        {"result": 1},
        {"failure": "timeout"},
    ]
    assert written(reports(-1, {"failure": "closed"}), good)["opened"] == {"failure": "closed"}
    assert behind(ClientFault).report(None) is None
    faulty = behind(gives_up(lambda value, payload: True))
    unchanged = faulty.report(json.dumps(good).encode())
    assert unchanged is not None
    assert json.loads(unchanged) == good, "nothing was said yet"


# Over HTTP


class Moves(ClientFault):
    """Reads another place in a redirect, and goes there as well."""

    def headed(self, exchange: int, status: int, headers: Headers) -> Headers:
        self.ask(Asked(0, "POST", "/there", []), b"body")
        return [(name, f"{value}/there") for name, value in headers]


class Silent:
    """A wire that takes everything; keeps the headers of its replies."""

    binding = Binding.HTTP
    number = 1

    def __init__(self) -> None:
        self.replies: list[tuple[int, Headers]] = []

    async def reply(self, exchange: int, status: int, headers: Headers, body: bytes) -> bool:
        self.replies.append((status, headers))
        return True


async def test_heads_of_replies_are_edited_and_requests_sent_in_the_clients_place() -> None:
    async with HttpHost() as made:
        host = behind(Moves).host(made)
        assert isinstance(host, FaultyHost)
        silent: Any = Silent()
        host.put(silent, Asked(1, "GET", "/here", []))
        heard = await host.hear(10.0)
        assert heard is not None
        wire: Any = heard[0]
        await wire.reply(1, 302, [("location", "/over")])
        assert silent.replies == [(302, [("location", "/over/there")])]
        went, sent = await host.hear(10.0), await host.hear(10.0)
        assert went is not None
        assert sent is not None
        asked, text = went[1], sent[1]
        assert isinstance(asked, Asked)
        assert isinstance(text, Text)
        assert (asked.method, asked.target, asked.headers) == (
            *("POST", "/there"),
            [("content-length", "4")],
        )
        assert asked.exchange < 0
        assert (text.data, text.exchange) == (b"body", asked.exchange)
        await wire.reply(asked.exchange, 404)
        assert len(silent.replies) == 1, "nobody has asked for that"


async def test_heads_are_edited() -> None:
    def made() -> Asked:
        return Asked(3, "POST", "/mcp", [("accept", "a"), ("x", "1")])

    def edited(make: Make) -> Iterable[Asked]:
        return make().asked(made())

    assert [each.headers for each in edited(without_header("x"))] == [[("accept", "a")]]
    assert [each.headers for each in edited(without_header("x", "GET"))] == [made().headers]
    (found,) = edited(edits_header("x", lambda value: value + "2"))
    assert header(found.headers, "x") == "12"
    (found,) = edited(with_header("y", "z"))
    assert header(found.headers, "y") == "z"
    assert edited(heads(lambda asked: ())) == ()
    first, second = edited(also_asks("GET", "/more", x_odd="1"))
    assert (first.exchange, second.method, second.target) == (3, "GET", "/more")
    assert second.exchange < 0
    assert second.headers == [("x-odd", "1")]


async def test_what_is_made_up_gets_no_response_and_what_is_dropped_does() -> None:
    async with HttpHost() as made, await anyio.connect_tcp("127.0.0.1", made.port) as stream:
        host = behind(never_says("ping")).host(made)

        async def post(value: Any) -> None:
            body = json.dumps(value)
            head = f"POST /mcp HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n"
            await stream.send((head + body).encode())

        await post(request(1, "ping"))
        wire: Any = None
        while True:
            heard = await host.hear(10.0)
            assert heard is not None
            wire = heard[0]
            if isinstance(heard[1], Text):
                break
        await wire.reply(1, 200, [], json.dumps(request("p", "ping")).encode())
        with patience():
            while b"ping" not in await stream.receive():
                pass
        await post(result("p", {}))
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                while True:
                    await host.hear(10.0)

            tasks.start_soon(listen)
            with patience():
                found = await stream.receive()
                assert b" 202 " in found, "the client has to be told"
            tasks.cancel_scope.cancel()
        assert await wire.reply(-5, 200)
        assert await wire.stream(-5)
        assert await wire.event(-5, b"{}")
        await wire.cut(-5)
