"""A hostile client with a state of its own making, against real servers on real transports."""

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from mcpcore import RuntimeSettings, ServeSettings, StdioTarget, parse_target
from mcpcore.engine.seal import Binding, request_binding
from mcpcore_transports.server.seal import AeadSeal, HmacSeal, SealKey, SealSettings
from tests.bindings.wires import calling
from tests.clock import patience
from tests.transports.runtime_bench import MODERN, Bench, bench
from tests.transports.served import ANY_PORT, served
from tests.transports.server import seal_child
from tests.transports.server.seal_child import make_server

pytestmark = pytest.mark.anyio

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Sends one message and returns the answer."""

META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "hostile", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
}
CALL = {"name": "ask", "arguments": {"what": "a"}}
AGREED = {"go": {"action": "accept", "content": {"ok": True}}}


@asynccontextmanager
async def asking(binding: str, kind: Any) -> AsyncIterator[Ask]:
    settings = RuntimeSettings(seal=kind())
    if binding == "memory":
        async with bench(make_server(), settings) as made:
            yield asker(made)
        return
    async with AsyncExitStack() as stack:
        if binding == "stdio":
            target: Any = StdioTarget([sys.executable, seal_child.__file__, kind.__name__])
        else:
            place: dict[str, Any] = {binding: ANY_PORT}
            made_of = ServeSettings(runtime=settings)
            site = await stack.enter_async_context(served(make_server(), settings=made_of, **place))
            target = parse_target(site.url)
        wire = await stack.enter_async_context(calling(binding, target, MODERN))

        async def ask(message: dict[str, Any]) -> dict[str, Any]:
            await wire.send(message)
            return await wire.receive()

        yield ask


class Hostile:
    """Numbers its messages and keeps the state of one honest first round."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._serial = 0

    async def send(self, params: dict[str, Any], method: str = "tools/call") -> dict[str, Any]:
        self._serial += 1
        params = {"_meta": META, **params}
        message = {"jsonrpc": "2.0", "id": self._serial, "method": method, "params": params}
        reply = await self._ask(message)
        assert reply["id"] == self._serial
        return reply

    async def state(self, params: dict[str, Any]) -> str:
        reply = await self.send(params)
        assert reply["result"]["resultType"] == "input_required"
        state: str = reply["result"]["requestState"]
        return state


def said(reply: dict[str, Any]) -> str:
    text: str = reply["result"]["content"][0]["text"]
    return text


def flipped(state: str) -> str:
    middle = len(state) // 2
    return state[:middle] + ("A" if state[middle] != "A" else "B") + state[middle + 1 :]


OTHER = "requestState belongs to a request with other parameters"


@pytest.mark.requirement(
    "basic/patterns/mrtr/state-untrusted",
    "basic/patterns/mrtr/state-protected",
    "basic/patterns/mrtr/state-bound",
)
@pytest.mark.parametrize("kind", [AeadSeal, HmacSeal])
@pytest.mark.parametrize("binding", ["memory", "stdio", "http", "ws", "tcp"])
async def test_a_hostile_client_gets_nowhere(binding: str, kind: Any) -> None:
    with patience():
        async with asking(binding, kind) as ask:
            client = Hostile(ask)
            mine = await client.state(CALL)
            foreign = kind().seal(b"[]", Binding(None, "tools/call", b""), wall=2e9)
            retry = {**CALL, "inputResponses": AGREED}
            elsewhere = {**retry, "name": "ask_too"}
            changed = {**retry, "arguments": {"what": "b"}}
            plain = {"name": "plain"}
            rows: list[tuple[dict[str, Any], str, str, str]] = [
                (retry, "tools/call", flipped(mine), "requestState was altered"),
                (retry, "tools/call", mine + "-TAMPERED", "requestState was altered"),
                (retry, "tools/call", mine[:-4], "requestState was altered"),
                (retry, "tools/call", "", "requestState was not given out by this server"),
                (retry, "tools/call", foreign, "was not given out"),
                (elsewhere, "tools/call", mine, OTHER),
                (changed, "tools/call", mine, OTHER),
                (plain, "tools/call", mine, OTHER),
                (retry, "prompts/get", mine, "requestState belongs to a request of another method"),
                (plain, "tools/call", "forged", "requestState was"),
            ]
            for params, method, state, says in rows:
                reply = await client.send({**params, "requestState": state}, method)
                assert reply["error"]["code"] == -32602, (params, method)
                assert says in reply["error"]["message"]
            # None of this has spoilt it for the honest retry, with another token and trace.
            meta = {**META, "progressToken": "another", "traceparent": "00-0-0-00"}
            reordered = {"arguments": CALL["arguments"], "name": CALL["name"]}
            honest = {**reordered, "inputResponses": AGREED, "requestState": mine, "_meta": meta}
            assert said(await client.send(honest)) == "a accept"


@pytest.mark.requirement("basic/patterns/mrtr/state-bound")
async def test_another_principal_is_refused() -> None:
    async with bench(make_server()) as made:

        async def ask_as(principal: str | None, **more: Any) -> dict[str, Any]:
            made.principal = principal
            return await made.call("tools/call", {**CALL, "_meta": META, **more})

        state = (await ask_as("alice"))["result"]["requestState"]
        retry = {"inputResponses": AGREED, "requestState": state}
        for thief in ("bob", "", None):
            error = (await ask_as(thief, **retry))["error"]
            assert error["code"] == -32602
            assert error["message"] == "requestState was given to another principal"
        assert said(await ask_as("alice", **retry)) == "a accept"


@pytest.mark.requirement("basic/index/any-connection")
async def test_workers_share_and_rotate_keys() -> None:
    old, new = (SealKey.derive(b"shared secret of all the workers", n) for n in ("1", "2"))

    def worker(*keys: SealKey) -> Any:
        return bench(make_server(), RuntimeSettings(seal=HmacSeal(SealSettings(keys=keys))))

    async with worker(old) as one, worker(new, old) as two, worker(new) as three:
        reply = await Hostile(asker(one)).send(CALL)
        retry = {
            **CALL,
            "inputResponses": AGREED,
            "requestState": reply["result"]["requestState"],
        }
        assert said(await Hostile(asker(two)).send(retry)) == "a accept"
        error = (await Hostile(asker(three)).send(retry))["error"]
        assert error["code"] == -32602
        assert "under a key that it has no more" in error["message"]


async def test_a_state_of_another_version_of_the_program_is_refused() -> None:
    seal = HmacSeal()
    async with bench(make_server(), RuntimeSettings(seal=seal, wall=lambda: 0.0)) as made:
        client = Hostile(asker(made))
        binding = request_binding(None, "tools/call", json.dumps(CALL).encode())
        for payload in (b"{}", b'["x"]', b"\xff", b""):
            state = seal.seal(payload, binding, wall=0.0)
            error = (await client.send({**CALL, "requestState": state}))["error"]
            assert error["code"] == -32602
            assert "requestState was not given out" in error["message"]


def asker(made: Bench) -> Ask:
    async def ask(message: dict[str, Any]) -> dict[str, Any]:
        made.send(message)
        return await made.reply(message["id"])

    return ask
