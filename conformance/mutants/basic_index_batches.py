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


class _OneByOne(Fault):
    """Answers each request of a batch with a message of its own."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not isinstance(value, list):
            return payload
        for each in value:
            self.answer(result(each["id"], {}))
        return None


table.add(
    "ignores-batches",
    ("batching/requests", "batching/invalid-elements"),
    "Says nothing to batches.",
    ignores(_batch),
    binding=Binding.HTTP,
)
table.add(
    "no-batches-yet",
    "batching/requests",
    "Refuses batches.",
    declines(_batch),
    binding=Binding.HTTP,
)
table.add(
    "two-at-least",
    "batching/one-request",
    "Refuses a batch of one.",
    declines(lambda value: _batch(value) and len(value) == 1),
)
table.add(
    "answers-all",
    "batching/with-notifications",
    "Answers the notifications of a batch as well.",
    instead(_batch, _all_answered),
)
table.add(
    "empty-array",
    ("batching/notifications-only", "batching/answers-only", "batching/empty"),
    "Answers a batch of which nothing is to be answered with an empty one.",
    instead(_batch, lambda _value: b"[]"),
)
table.add(
    "all-or-nothing",
    ("batching/errors", "batching/partly-invalid"),
    "Refuses a batch if one of its elements is bad.",
    declines(_batch),
    binding=Binding.HTTP,
)
table.add(
    "flattens",
    "batching/nested",
    "Takes a batch inside a batch for a part of it.",
    _read(lambda batch: batch[0] if batch and isinstance(batch[0], list) else batch),
)
table.add(
    "by-id",
    "batching/duplicate-ids",
    "Keeps the requests of a batch by their ids.",
    _read(_by_id),
    binding=Binding.HTTP,
)
table.add(
    "twenty-at-most",
    "batching/many",
    "Reads the first twenty elements of a batch.",
    _read(lambda batch: batch[:20]),
    binding=Binding.HTTP,
)
table.add(
    "one-by-one",
    "batching/one-array",
    "Answers the requests of a batch one by one.",
    _OneByOne,
)
table.add(
    "still-batches",
    "messages/no-batches",
    "Carries out batches where there are none.",
    instead(_batch, _all_answered),
)
table.add(
    "first-of-a-batch",
    "messages/no-batches",
    "Carries out the first request of a batch.",
    _read(lambda batch: batch[0] if batch else batch),
)

__all__ = ["table"]
