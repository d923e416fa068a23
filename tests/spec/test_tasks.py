"""The two kinds of tasks: what they look like on the wire."""

from typing import Any

import msgspec
import pytest

from mcpcore.spec import types
from mcpcore.spec.decoding import decode

STATE = {
    "taskId": "t1",
    "createdAt": "2026-07-28T10:00:00Z",
    "lastUpdatedAt": "2026-07-28T10:01:00Z",
}
EXTENSION = STATE | {"ttlMs": 60000, "pollIntervalMs": 500}
ASKED = {"name": {"method": "elicitation/create", "params": {"message": "?"}}}


@pytest.mark.parametrize(
    ("type", "value"),
    [
        # 2025-11-25
        (types.Task, STATE | {"status": "working", "ttl": None, "pollInterval": 500}),
        (types.CreateTaskResult, {"task": STATE | {"status": "working", "ttl": 5}}),
        (types.ListTasksResult, {"tasks": [STATE | {"status": "failed", "ttl": 5}]}),
        (types.TaskResult, STATE | {"status": "cancelled", "ttl": 5, "statusMessage": "gone"}),
        (types.TaskStatusParams, STATE | {"status": "completed", "ttl": 5}),
        (types.TaskMetadata, {"ttl": 60000}),
        (types.RelatedTaskMetadata, {"taskId": "t1"}),
        # The extension
        (types.TaskResult, EXTENSION | {"status": "working", "resultType": "task"}),
        (types.TaskResult, EXTENSION | {"status": "input_required", "inputRequests": ASKED}),
        (types.TaskResult, EXTENSION | {"status": "completed", "result": {"content": []}}),
        (types.TaskResult, STATE | {"status": "working", "ttlMs": None}),
        (types.TaskStatusParams, EXTENSION | {"status": "failed", "error": {"code": 1}}),
        (types.UpdateTaskParams, {"taskId": "t1", "inputResponses": {"name": {"action": "x"}}}),
        (types.SubscriptionFilter, {"taskIds": ["t1"]}),
    ],
)
def test_round_trip(type: type[msgspec.Struct], value: dict[str, Any]) -> None:
    again = msgspec.json.encode(decode(msgspec.json.encode(value), type))
    assert msgspec.json.decode(again) == value


@pytest.mark.parametrize(
    ("type", "value", "says"),
    [
        (types.TaskResult, EXTENSION | {"status": "done"}, r"'done'.*status"),
        (types.TaskResult, {"taskId": "t1", "status": "working"}, "createdAt"),
        (types.UpdateTaskParams, {"taskId": "t1"}, "inputResponses"),
        (types.TaskParams, {"taskId": 1}, r"\$\.taskId"),
    ],
)
def test_what_is_wrong_is_named(
    type: type[msgspec.Struct], value: dict[str, Any], says: str
) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        decode(msgspec.json.encode(value), type)
