"""How our client uses the experimental tasks, by what it sends to a server that obeys a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import anyio
import msgspec
import pytest
from msgspec import Raw

from mcpcore import Callbacks, ClientSettings, Implementation, Peer, TaskOptions, WebSocketSettings
from mcpcore.engine.config import Config, Role
from mcpcore.engine.events import Event, RequestReceived, ResultReceived
from mcpcore.spec.types.capabilities import ServerCapabilities
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.link import Handshake, clock
from mcpcore_transports.serve.assembling import LinkFactory
from mcpcore_transports.websocket.server import UpgradeRules, WebSocketServer, listen_websocket
from tests.clock import patience

pytestmark = pytest.mark.anyio

CALLS: dict[str, Any] = {"tasks": {"list": {}, "requests": {"tools": {"call": {}}}}}
STATE: dict[str, Any] = {
    "taskId": "t",
    "createdAt": "x",
    "lastUpdatedAt": "x",
    "ttl": None,
    "pollInterval": 50,
}
DONE: dict[str, Any] = {"content": [{"type": "text", "text": "42"}]}
TOOLS = ("silent", "forbidden", "optional", "required")


def declared(name: str) -> dict[str, Any]:
    tool: dict[str, Any] = {"name": name, "inputSchema": {"type": "object"}}
    return tool if name == "silent" else {**tool, "execution": {"taskSupport": name}}


class Scripted:
    """A server that gives its replies one after the other, and notes what it was asked when."""

    def __init__(self, statuses: list[str], *, news: bool) -> None:
        self.statuses = statuses
        self.news = news
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.times: list[float] = []
        self.created: dict[str, Any] | Raw = {"task": {**STATE, "status": "working"}}
        self.question: dict[str, Any] | None = None
        """Put when the task is looked at, not on the stream of the request for its result."""
        self.answers: list[dict[str, Any]] = []
        self.peer: Peer

    def handle(self, event: Event) -> None:
        if isinstance(event, ResultReceived):
            self.answers.append(msgspec.json.decode(event.result))
            self.statuses = ["completed"]
        if not isinstance(event, RequestReceived):
            return
        params = msgspec.json.decode(event.params)
        params.pop("_meta", None)
        self.asked.append((event.method, params))
        self.times.append(clock())
        self.peer.respond(event.key, self.reply(event.method, params))

    def reply(self, method: str, params: dict[str, Any]) -> dict[str, Any] | Raw:
        if method == "tools/list":
            return {"tools": [declared(name) for name in TOOLS]}
        if method == "tools/call":
            return self.created if "task" in params else DONE
        if method == "tasks/list":
            return {"tasks": [], "nextCursor": "next"}
        if method == "tasks/result":
            return DONE
        if self.question is not None:
            about = {"io.modelcontextprotocol/related-task": {"taskId": "t"}, "x": Raw(b"1e999")}
            self.peer.request("elicitation/create", self.question, now=clock(), meta=about)
            self.question = None
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        state = {**STATE, "status": status}
        if self.news:
            self.peer.notify("notifications/tasks/status", state)
        return state

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.asked]


@asynccontextmanager
async def scripted(
    *statuses: str, capabilities: dict[str, Any] = CALLS, news: bool = False
) -> AsyncIterator[tuple[Scripted, Client]]:
    script = Scripted(list(statuses), news=news)
    offered = msgspec.convert({"tools": {}, **capabilities}, ServerCapabilities)
    info = Implementation(name="scripted", version="1")

    async def converse(make_link: LinkFactory, handshake: Handshake) -> None:
        script.peer = Peer(Role.SERVER, Config(info=info, capabilities=offered))
        await make_link(script.peer, script).run()

    server = WebSocketServer(converse, UpgradeRules(WebSocketSettings()))
    with patience():
        async with anyio.create_task_group() as group:
            port = await group.start(listen_websocket, "127.0.0.1", 0, server)
            async with connect(
                f"ws://127.0.0.1:{port}/mcp",
                revision="2025-11-25",
                callbacks=Callbacks(elicitation=lambda params: {}),
                settings=ClientSettings(tasks=TaskOptions()),
            ) as client:
                await client.tools()
                script.asked.clear()
                script.times.clear()
                yield script, client
            group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("capabilities", "tool", "as_task"),
    [
        pytest.param(
            CALLS, "silent", False,
            marks=pytest.mark.requirement("basic/utilities/tasks/tool-forbids"),
        ),
        pytest.param(
            CALLS, "forbidden", False,
            marks=pytest.mark.requirement("basic/utilities/tasks/tool-forbids"),
        ),
        pytest.param(CALLS, "optional", True),
        pytest.param(
            CALLS, "required", True,
            marks=pytest.mark.requirement("basic/utilities/tasks/tool-requires"),
        ),
        pytest.param(
            {}, "required", False,
            marks=pytest.mark.requirement(
                "basic/utilities/tasks/no-tasks-undeclared",
                "basic/utilities/tasks/tool-calls-undeclared",
            ),
        ),
        pytest.param(
            {"tasks": {"list": {}}}, "optional", False,
            marks=pytest.mark.requirement(
                "basic/utilities/tasks/augment-declared",
                "basic/utilities/tasks/tool-calls-undeclared",
            ),
        ),
    ],
)  # fmt: skip
async def test_which_calls_are_made_tasks(
    capabilities: dict[str, Any], tool: str, as_task: bool
) -> None:
    async with scripted("completed", capabilities=capabilities) as (script, client):
        assert (await client.call_tool(tool)).text == "42"
        (_, params), *_ = script.asked
        assert ("task" in params) is as_task


@pytest.mark.requirement(
    "basic/utilities/tasks/poll-interval",
    "basic/utilities/tasks/poll-to-end",
    "basic/utilities/tasks/status-not-relied-on",
)
async def test_a_task_is_polled_to_its_end_and_no_faster_than_told() -> None:
    async with scripted("working", "working", "completed") as (script, client):
        assert (await client.call_tool("optional")).text == "42"
        assert script.methods == ["tools/call", *["tasks/get"] * 3, "tasks/result"]
        looks = script.times[:4]
        pauses = [after - before for before, after in pairwise(looks)]
        assert min(pauses) >= 0.05


@pytest.mark.requirement("basic/utilities/tasks/poll-despite-notifications")
async def test_polling_goes_on_in_spite_of_news() -> None:
    async with scripted("working", "working", "completed", news=True) as (script, client):
        assert (await client.call_tool("optional")).text == "42"
        assert script.methods.count("tasks/get") == 3


@pytest.mark.requirement("basic/utilities/tasks/input-result-called")
async def test_what_wants_input_is_asked_for_its_result() -> None:
    async with scripted("input_required") as (script, client):
        assert (await client.call_tool("optional")).text == "42"
        assert script.methods == ["tools/call", "tasks/get", "tasks/result"]


async def test_a_task_is_one_however_its_name_is_written() -> None:
    async with scripted("completed") as (script, client):
        created = msgspec.json.encode(script.created)
        script.created = Raw(created.replace(b'"task', b'"\\u0074ask'))
        assert (await client.call_tool("optional")).text == "42"


@pytest.mark.requirement("basic/utilities/tasks/any-stream")
async def test_a_question_may_come_on_any_stream() -> None:
    async with scripted("working") as (script, client):
        script.question = {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
        assert (await client.call_tool("optional")).text == "42"
        assert script.answers == [
            {
                "action": "accept",
                "content": {},
                "_meta": {"io.modelcontextprotocol/related-task": {"taskId": "t"}},
            }
        ]


@pytest.mark.requirement("basic/utilities/tasks/list-cursor-opaque")
async def test_cursors_go_back_as_they_came() -> None:
    async with scripted() as (script, client):
        page = await client.tasks.list()
        assert page.next_cursor == "next"
        await client.tasks.list("\u00e9 not ours")
        assert script.asked == [
            ("tasks/list", {}),
            ("tasks/list", {"cursor": "\u00e9 not ours"}),
        ]
