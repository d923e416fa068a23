"""Tasks on the wire in both forms, and tools and servers that declare them."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Raw

from mcpcore.service import Server
from mcpcore.service.task_settings import TaskForm, TaskSupport, support_of, task_form
from mcpcore.service.tasks import (
    TaskRecord,
    TaskTable,
    describe,
    detail,
    related,
    timestamp,
)
from mcpcore.spec.errors import ErrorData
from mcpcore.spec.revisions import BY_NAME, REVISIONS
from mcpcore.spec.types.tools import ListToolsResult
from tests.service.calling import ask
from tests.spec.oracle import FOLDER, needs_schemas

EXPERIMENTAL, EXTENSION = TaskForm.EXPERIMENTAL, TaskForm.EXTENSION
RESULT = Raw(b'{"content":[{"type":"text","text":"42"}]}')
FAILURE = Raw(b'{"content":[{"type":"text","text":"no paper"}],"isError":true}')


def started(ttl: int | None = 60_000) -> tuple[TaskTable, TaskRecord]:
    table = TaskTable(bytes(range(32)))
    return table, table.create("a", wall=1_764_000_000.0, ttl=ttl, poll=250)


def in_state(status: str) -> TaskRecord:
    table, record = started()
    now = 1_764_000_001.5
    if status == "input_required":
        table.ask(record, "who", "elicitation/create", b'{"message":"Who?"}', wall=now)
    elif status == "completed":
        table.complete(record, RESULT, {"com.example/k": 1}, wall=now)
    elif status == "tool failed":
        table.complete(record, FAILURE, wall=now)
    elif status == "failed":
        table.fail(record, ErrorData.make(-32603, "broken", {"part": 7}), wall=now)
    elif status == "cancelled":
        table.cancel(record, "enough", wall=now)
    return record


def plain(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))


COMMON = {"createdAt": "2025-11-24T16:00:00.000Z", "lastUpdatedAt": "2025-11-24T16:00:01.500Z"}
BROKEN = {"code": -32603, "message": "broken", "data": {"part": 7}}


ASKED = {"who": {"method": "elicitation/create", "params": {"message": "Who?"}}}
META = {"com.example/k": 1}


def inlined(result: Raw, **more: Any) -> dict[str, Any]:
    return {"resultType": "complete", **more, **json.loads(bytes(result))}


@pytest.mark.parametrize(
    ("status", "told", "payload"),
    [
        ("input_required", "input_required", {"inputRequests": ASKED}),
        ("completed", "completed", {"result": inlined(RESULT, _meta=META)}),
        (
            "tool failed",
            "completed",
            {"statusMessage": "no paper", "result": inlined(FAILURE)},
        ),
        ("failed", "failed", {"statusMessage": "broken", "error": BROKEN}),
        ("cancelled", "cancelled", {"statusMessage": "enough"}),
    ],
)
def test_the_extension_says_everything_at_once(
    status: str, told: str, payload: dict[str, Any]
) -> None:
    record = in_state(status)
    expected = {"taskId": record.id, "status": told, "ttlMs": record.ttl, "pollIntervalMs": 250}
    assert plain(detail(record)) == {**COMMON, **expected, **payload}
    payload = {name: value for name, value in payload.items() if name == "statusMessage"}
    assert plain(describe(record, EXTENSION)) == {**COMMON, **expected, **payload}


@pytest.mark.parametrize(
    ("status", "told", "message"),
    [
        ("input_required", "input_required", None),
        ("completed", "completed", None),
        ("tool failed", "failed", "no paper"),
        ("failed", "failed", "broken"),
        ("cancelled", "cancelled", "enough"),
    ],
)
def test_the_experimental_form_says_how_it_stands(
    status: str, told: str, message: str | None
) -> None:
    record = in_state(status)
    expected = {"taskId": record.id, "status": told, "ttl": record.ttl, "pollInterval": 250}
    if message is not None:
        expected["statusMessage"] = message
    assert plain(describe(record, EXPERIMENTAL)) == {**COMMON, **expected}


@pytest.mark.parametrize("status", ["working", "input_required", "tool failed", "cancelled"])
@needs_schemas
def test_the_experimental_form_fits_its_schema(status: str) -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    document = json.loads((FOLDER / "2025-11-25" / "schema.json").read_text())
    for ttl in (60_000, None):
        record = in_state(status)
        record.ttl = ttl
        task = plain(describe(record, EXPERIMENTAL))
        for name, value in (
            ("Task", task),
            ("GetTaskResult", task),
            ("CreateTaskResult", {"task": task, "_meta": related("t")}),
            ("ListTasksResult", {"tasks": [task]}),
            ("TaskStatusNotificationParams", task),
        ):
            wrong = validator({**document, "$ref": f"#/$defs/{name}"}).iter_errors(value)
            assert [error.message for error in wrong] == [], name


def test_no_ttl_is_null_in_both_forms() -> None:
    _, record = started(ttl=None)
    assert plain(describe(record, EXTENSION))["ttlMs"] is None
    assert plain(describe(record, EXPERIMENTAL))["ttl"] is None


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_764_000_000.0004, "2025-11-24T16:00:00.000Z"),
        (1_764_000_000.9996, "2025-11-24T16:00:00.999Z"),
    ],
)
def test_times_are_iso_8601(wall: float, text: str) -> None:
    assert timestamp(wall) == text


@pytest.mark.parametrize("revision", REVISIONS, ids=str)
def test_which_calls_can_be_tasks(revision: Any) -> None:
    forms = {"2025-11-25": EXPERIMENTAL, "2026-07-28": EXTENSION}
    assert task_form(revision) is forms.get(revision.name)
    sampling = task_form(revision, "sampling/createMessage")
    assert sampling is (EXPERIMENTAL if revision.name == "2025-11-25" else None)
    assert task_form(revision, "prompts/get") is None
    assert task_form(revision, "no/such") is None


# What tools and servers declare


def offering() -> Server:
    server = Server("s")
    server.add_tool(lambda: "x", "plain")
    server.add_tool(lambda: "x", "never", task="forbidden")
    server.add_tool(
        lambda: "x", "may", task="optional", task_after=1.5, task_ttl=2.5, task_poll=0.1
    )
    server.add_tool(lambda: "x", "must", task="required", task_after=None, task_ttl=None)
    return server


@pytest.mark.parametrize("revision", REVISIONS, ids=str)
def test_tools_say_so_where_there_is_a_word_for_it(revision: Any) -> None:
    listed = msgspec.convert(ask(offering(), "tools/list", {}, revision), ListToolsResult)
    said = {tool.name: plain(tool).get("execution") for tool in listed.tools}
    expected: dict[str, Any] = {"plain": None, "never": None, "may": None}
    if task_form(revision) is not None:  # a tool that must be a task is for those who know tasks
        expected["must"] = None
    if task_form(revision) is EXPERIMENTAL:
        expected |= {"may": {"taskSupport": "optional"}, "must": {"taskSupport": "required"}}
    assert said == expected


@pytest.mark.parametrize(
    ("tool", "support"),
    [
        ("plain", None),
        ("never", None),
        ("may", TaskSupport(after=1.5, ttl=2500, poll_interval=100)),
        ("must", TaskSupport(required=True, after=None, ttl=None)),
    ],
)
def test_a_prepared_call_knows_what_its_tool_declared(
    tool: str, support: TaskSupport | None
) -> None:
    for arguments in ({}, {"unknown": 1}):
        params = msgspec.json.encode({"name": tool, "arguments": arguments})
        prepared = offering().prepare("tools/call", params, BY_NAME["2026-07-28"])
        assert prepared.task == support
    assert offering().prepare("tools/list", b"{}", BY_NAME["2026-07-28"]).task is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"task": "always"}, "'always'"),
        ({"task": "optional", "task_after": -1}, "task_after"),
        ({"task": "optional", "task_after": float("nan")}, "task_after"),
        ({"task": "optional", "task_ttl": float("inf")}, "task_ttl"),
        ({"task": "optional", "task_ttl": float("nan")}, "task_ttl"),
        ({"task": "optional", "task_poll": float("inf")}, "task_poll"),
        ({"task": "optional", "task_ttl": 0}, "task_ttl"),
        ({"task": "required", "task_poll": 0}, "task_poll"),
    ],
)
def test_options_that_make_no_sense(options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"'bad'.*{says}"):
        Server("s").add_tool(lambda: "x", "bad", **options)


def test_times_are_given_in_seconds() -> None:
    support = support_of("optional", 0.0, 0.0001, 2)
    assert support is not None
    assert (support.ttl, support.poll_interval) == (1, 2000)
    unset = support_of("optional", 0.0, UNSET, None)
    assert unset is not None
    assert unset.ttl is UNSET


def test_tasks_are_declared_by_the_server_that_has_any() -> None:
    name = "io.modelcontextprotocol/tasks"
    none = Server("s", extensions={"com.example/x": {}}).capabilities()
    assert (none.tasks, none.extensions) == (None, {"com.example/x": {}})
    for server in (offering(), Server("s", offers=["tasks"])):
        declared = plain(server.capabilities())
        assert declared["extensions"] == {name: {}}
        assert declared["tasks"] == {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
    own = Server("s", offers=["tasks"], extensions={name: {"x": 1}}).capabilities()
    assert own.extensions == {name: {"x": 1}}
