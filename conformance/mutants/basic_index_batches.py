"""Mutants of the page basic/index: batches."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.faults import Fault, declines, ignores, instead, misread
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import encode, error, result
from mcpcore_conformance.kit.model import Binding

table = Table("basic/index")


def _batch(value: Any) -> bool:
    return isinstance(value, list)


def _read(edit: Callable[[list[Any]], Any]) -> Callable[[], Fault]:
    return misread(lambda value, payload: edit(value) if isinstance(value, list) else payload)


def _by_id(batch: list[Any]) -> list[Any]:
    seen: dict[Any, Any] = {each.get("id"): each for each in batch}
    return list(seen.values())


def _all_answered(batch: Any) -> bytes:
    answers = [
        result(each["id"], {}) if "id" in each else error(None, -32601, "Method not found")
        for each in batch
    ]
    return encode(answers)


@table.server("one-by-one", "batching/one-array")
class _OneByOne(Fault):
    """Answers the requests of a batch one by one."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not isinstance(value, list):
            return payload
        for each in value:
            self.answer(result(each["id"], {}))
        return None


table.server(
    "ignores-batches", "batching/requests", "batching/invalid-elements", binding=Binding.HTTP
).does("Says nothing to batches.", ignores(_batch))
table.server("no-batches-yet", "batching/requests", binding=Binding.HTTP).does(
    "Refuses batches.", declines(_batch)
)
table.server("two-at-least", "batching/one-request").does(
    "Refuses a batch of one.", declines(lambda value: _batch(value) and len(value) == 1)
)
table.server("answers-all", "batching/with-notifications").does(
    "Answers the notifications of a batch as well.", instead(_batch, _all_answered)
)
table.server(
    "empty-array", "batching/notifications-only", "batching/answers-only", "batching/empty"
).does(
    "Answers a batch of which nothing is to be answered with an empty one.",
    instead(_batch, lambda _value: b"[]"),
)
table.server(
    "all-or-nothing", "batching/errors", "batching/partly-invalid", binding=Binding.HTTP
).does("Refuses a batch if one of its elements is bad.", declines(_batch))
table.server("flattens", "batching/nested").does(
    "Takes a batch inside a batch for a part of it.",
    _read(lambda batch: batch[0] if batch and isinstance(batch[0], list) else batch),
)
table.server("by-id", "batching/duplicate-ids", binding=Binding.HTTP).does(
    "Keeps the requests of a batch by their ids.", _read(_by_id)
)
table.server("twenty-at-most", "batching/many", binding=Binding.HTTP).does(
    "Reads the first twenty elements of a batch.", _read(lambda batch: batch[:20])
)
table.server("still-batches", "messages/no-batches").does(
    "Carries out batches where there are none.", instead(_batch, _all_answered)
)
table.server("first-of-a-batch", "messages/no-batches").does(
    "Carries out the first request of a batch.", _read(lambda batch: batch[0] if batch else batch)
)
