"""`mcpcore gateway`: what it refuses, its configuration file, its page."""

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mcpcore import PeerError, connect
from mcpcore.auth.api_keys import digest_of, make_key
from mcpcore.errors import BadConfig
from mcpcore.policy.breaker import BreakerSettings
from mcpcore.policy.retrying import RetrySettings
from mcpcore.relay.names import Naming
from mcpcore_transports.commands.gateway import gateway_settings
from mcpcore_transports.commands.options import GatewayOptions
from mcpcore_transports.gateway.settings import GatewaySettings, read_settings
from mcpcore_transports.targets import HttpTarget
from tests.command import mcpcore_here
from tests.docs.blocks import ROOT
from tests.gateway.commanded import commanded
from tests.gateway.test_gateway import MODERN, PROGRAM, text
from tests.transports.redis_server import redis_server
from tests.warm import PYTHON

AWAY = "http://127.0.0.1:1/mcp"


def config(folder: Path, gateway: object, **servers: object) -> Path:
    """Write a configuration file."""
    file = folder / "mcp.json"
    file.write_text(json.dumps({"gateway": gateway, "mcpServers": servers}))
    return file


def test_settings_of_a_file(tmp_path: Path) -> None:
    written = {
        "processes": 20,
        "startTime": 3,
        "shared": {"a": True},
        "routes": {"/mcp": ["a", "b"], "/billing": ["c"]},
        "relay": {"naming": "on conflict", "listTimeout": 5},
        "retry": {"attempts": 2},
        "breaker": None,
    }
    made = read_settings(config(tmp_path, written))
    assert (made.processes, made.start_time, made.shared) == (20, 3.0, {"a": True})
    assert made.routes == {"/mcp": ("a", "b"), "/billing": ("c",)}
    assert (made.relay.naming, made.relay.list_timeout) == (Naming.ON_CONFLICT, 5.0)
    assert (made.retry, made.breaker) == (RetrySettings(attempts=2), None)
    assert read_settings(config(tmp_path, {})).breaker == BreakerSettings()
    assert read_settings(config(tmp_path, {})).processes == GatewaySettings().processes


@pytest.mark.anyio
async def test_rates_of_a_file_limit_the_clients_of_all_that_share_a_store(tmp_path: Path) -> None:
    command, *arguments = [*PYTHON, PROGRAM, "a", MODERN]
    server = {"command": command, "args": arguments, "env": {"PYTHONPATH": str(ROOT)}}
    written = {"rates": {"tools": {"amount": 1, "per": 1000.0}}, "suspicion": {"violations": 5}}
    file, keys = config(tmp_path, written, a=server), tmp_path / "keys.jsonl"
    id, key = make_key(bytes(range(40)))
    keys.write_text(json.dumps({"id": id, "digest": digest_of(key), "principal": "ann"}))
    async with AsyncExitStack() as stack:
        words = ["--config", str(file), "--auth-keys", str(keys)]
        words += ["--store", stack.enter_context(redis_server()).url]
        for number in range(2):
            url = await stack.enter_async_context(commanded("--http", "127.0.0.1:0", *words))
            target = HttpTarget(url, headers={"Authorization": f"Bearer {key}"})
            client = await stack.enter_async_context(connect(target))
            if number == 0:
                assert text(await client.call_tool("echo", {"text": "hi"})) == "a: hi"
            with pytest.raises(PeerError, match="busy: too many tool calls"):
                await client.call_tool("echo", {"text": "hi"})


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"rates": {"tool": 1}}, "gateway.rates.tool: expected a table"),
        ({"rates": {"tolls": {"amount": 1}}}, "gateway.rates has the unknown member 'tolls'"),
        ({"suspicion": {"violations": "5"}}, "gateway.suspicion: expected numbers"),
    ],
)
def test_policies_for_clients_that_are_refused(tmp_path: Path, written: object, said: str) -> None:
    done = mcpcore_here("gateway", "--config", str(config(tmp_path, written, a={"url": AWAY})))
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("tool", "settings", "refused"),
    [
        ("echo", {}, True),
        ("c__echo", {}, True),
        ("a__echo", {}, False),
        ("echo", {"relay": {"naming": "on conflict"}}, False),
        ("echo", {"routes": {"/x": ["a", "b"], "/y": ["b"]}}, False),
    ],
)
def test_the_rate_of_a_tool_that_no_server_can_have(
    tmp_path: Path, tool: str, settings: dict[str, object], refused: bool
) -> None:
    written = {"rates": {"tool": {tool: {"amount": 1}}}, **settings}
    file = config(tmp_path, written, a={"url": AWAY}, b={"url": AWAY})
    done = mcpcore_here("gateway", "--config", str(file), "--tcp", "127.0.0.1:-1")
    assert done.returncode == 2
    assert (f"gateway.rates.tool: no tool is named '{tool}'" in done.stderr) is refused


def test_options_come_before_the_file(tmp_path: Path) -> None:
    file = str(config(tmp_path, {"processes": 20, "startTime": 3}))
    made = gateway_settings(GatewayOptions(config=file, max_processes=2, start_time=60.0))
    assert (made.processes, made.start_time) == (2, 60.0)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ([], "gateway: expected an object"),
        ({"proceses": 1}, "gateway: there is no setting 'proceses'"),
        ({"client": {}}, "gateway: there is no setting 'client'"),
        (
            {"relay": {"list_timeout": 5}},
            "gateway.relay: there is no setting 'list_timeout'; did you mean 'listTimeout'?",
        ),
        ({"relay": {"listTimeout": "5"}}, "gateway.relay.listTimeout: Expected `float`, got `str`"),
        ({"relay": {"listTimeout": -1}}, "gateway.relay: listTimeout must be above 0"),
        ({"processes": "many"}, "gateway.processes: Expected `int`, got `str`"),
        ({"processes": 0}, "gateway: processes must be"),
        ({"relay": None}, "gateway.relay: expected an object"),
        ({"signIn": {}}, "gateway.signIn: Missing required argument 'url'"),
        (
            {"relay": {"naming": "sometimes"}},
            "gateway.relay.naming: 'sometimes' is none of always, on conflict, never",
        ),
        ({"routes": ["a"]}, "gateway.routes: Expected `object`, got `array`"),
        ({"routes": {"/mcp": "a"}}, "gateway.routes: Expected `array`, got `str`"),
        ({"routes": {"billing": ["a"]}}, "gateway: routes: 'billing' is no path"),
        ({"routes": {"/billing": []}}, "gateway: routes: '/billing' has no server"),
        ({"routes": {"/x": ["a", "a"]}}, "gateway: routes: '/x' names the server 'a' twice"),
        ({"routes": {"/x": ["a"], "/x/": ["b"]}}, "gateway: routes: '/x/' and '/x' are too alike"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, written: object, said: str) -> None:
    with pytest.raises(BadConfig) as refused:
        read_settings(config(tmp_path, written))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"gateway":{"lazy":true},"gateway":{}}', "'gateway' is there twice"),
        ('{"gateway":{"relay":{"names":1,"names":2}}}', "gateway.relay: 'names' is there twice"),
        ('{"gateway":{"guard":{"a":{},"a":{}}}}', "gateway.guard: 'a' is there twice"),
        ('{"gatway":{"breaker":null}}', "'gatway' is unknown: is 'gateway' meant?"),
        ('{"Gateway":{"breaker":null}}', "'Gateway' is unknown: is 'gateway' meant?"),
        ('{"guard":{}}', "'guard' is not read: a gateway reads it from the member 'gateway'"),
    ],
)
def test_settings_that_are_there_twice_or_nearly(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(text)
    with pytest.raises(BadConfig, match=said):
        read_settings(file)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["gateway"],
            "expected one of: a URL, MODULE:SERVER, a command behind --, and --config FILE",
        ),
        (["gateway", __file__], f"{__file__} is a file; expected one of: a URL, MODULE:SERVER"),
        (["gateway", "http://a/mcp", "--", "b"], "expected one of"),
        (["gateway", "http://a/mcp", "http://b/mcp"], "expected one of"),
        (["gateway", "no_such:server"], "there is no module 'no_such'"),
        (["gateway", "tcp://127.0.0.1:1", "--header", "A: b"], "--header is for"),
        (["gateway", "http://a/mcp", "--server-revision", "1999-01-01"], "1999-01-01"),
    ],
)
def test_words_that_are_refused(words: list[str], said: str) -> None:
    done = mcpcore_here(*words)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("member", "value"), [("shared", {"b": True}), ("routes", {"/mcp": ["a", "b"]})]
)
def test_settings_for_a_server_that_is_not_there(
    tmp_path: Path, member: str, value: object
) -> None:
    file = config(tmp_path, {member: value}, a={"url": AWAY})
    done = mcpcore_here("gateway", "--config", str(file))
    assert done.returncode == 2
    assert f"{file}: gateway.{member}: there is no server 'b'" in done.stderr


@pytest.mark.parametrize("shared", [{}, {"b": True}, {"a": False}])
def test_workers_do_not_start_a_process_each_for_one_session(
    tmp_path: Path, shared: dict[str, bool]
) -> None:
    servers = {"a": {"command": "true"}, "b": {"url": AWAY}}
    file = config(tmp_path, {"shared": shared}, **servers)
    done = mcpcore_here("gateway", "--config", str(file), "--workers", "2")
    assert done.returncode == 2
    assert "a: with --workers a session would have a process of it at each worker" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "2"], "sign in at one process; leave --workers out"),
        (["--ws", "127.0.0.1:0"], "sign in at a page of the gateway: give --http"),
        (["--http", "127.0.0.1:0"], "give --auth-resource and --auth-issuer"),
    ],
)
def test_what_a_sign_in_of_users_needs(tmp_path: Path, words: list[str], said: str) -> None:
    file = config(tmp_path, {}, a={"url": AWAY, "oauth": {"grant": "sign_in"}})
    done = mcpcore_here("gateway", "--config", str(file), *words)
    assert done.returncode == 2
    assert "a: its users " in done.stderr
    assert said in done.stderr


def test_a_name_that_no_server_can_have(tmp_path: Path) -> None:
    file = config(tmp_path, {}, **{"天気": {"url": AWAY}, "b": {"url": AWAY}})
    done = mcpcore_here("gateway", "--config", str(file))
    assert done.returncode == 2
    assert "'天気' cannot name a server" in done.stderr


def test_the_page_tells_of_the_settings() -> None:
    text = (ROOT / "docs" / "how-to" / "gateway.md").read_text(encoding="utf-8")
    for name in ("processes", "processesPerServer", "starting", "maxDelay", "linkIdle"):
        assert f"`{name}`" in text
