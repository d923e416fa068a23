"""Where a message differs from the one that stands in a trace."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct, field

_HIDDEN = re.compile(r"<hidden-\d+>|<\.\.\.>")
_GIVEN = frozenset(("requestState", "nextCursor", "taskId", "elicitationId"))
"""Values that a side makes up and gets back: each conversation has its own."""
_NAMES = frozenset(("progressToken", "requestId", "io.modelcontextprotocol/subscriptionId"))
"""What a side calls a request of its own."""
_MOMENTS = frozenset(("createdAt", "lastUpdatedAt", "lastModified"))
_SHOWN = 60


class Memory(Struct):
    """What stands in the trace, and what the live peer has said in its place."""

    values: dict[str, str] = field(default_factory=dict)

    def replaced(self, value: Any) -> Any:
        """A message of the trace with the live values in it."""
        if isinstance(value, dict):
            return {name: self.replaced(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.replaced(each) for each in value]
        return self.values.get(value, value) if isinstance(value, str) else value


def differences(
    wanted: Any, found: Any, memory: Memory, *, shape: bool = False, path: str = ""
) -> Iterator[str]:
    """What ``found`` has otherwise than ``wanted``, which is the trace's.

    ``shape``: only members and types are compared.  What is hidden in the trace may be anything.
    """
    name = path.rpartition(".")[2]
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted(wanted.keys() - found.keys()):
            yield f"{_at(path, key)} is missing"
        for key in sorted(found.keys() - wanted.keys()):
            yield f"{_at(path, key)} is not in the trace"
        for key in wanted:
            if key in found and key not in _NAMES:
                yield from differences(
                    wanted[key], found[key], memory, shape=shape, path=_at(path, key)
                )
    elif isinstance(wanted, list) and isinstance(found, list):
        ours, theirs = _names(wanted), _names(found)
        if ours is not None and theirs is not None and ours.keys() != theirs.keys():
            yield from _differing_names(path, ours, theirs)
            wanted = [each for name, each in ours.items() if name in theirs]
            found = [theirs[name] for name in ours if name in theirs]
        elif len(wanted) != len(found) and not shape:
            yield f"{path} has {len(found)} items, not {len(wanted)}"
        for index, (each, other) in enumerate(zip(wanted, found, strict=False)):
            yield from differences(each, other, memory, shape=shape, path=f"{path}[{index}]")
    elif isinstance(wanted, str) and isinstance(found, str):
        if name in _GIVEN:
            memory.values[wanted] = found
        elif not (shape or name in _MOMENTS or _same(wanted, found)):
            yield f"{path} is {_written(found)}, not {_written(wanted)}"
    elif _kind(wanted) != _kind(found):
        if not (isinstance(wanted, str) and _HIDDEN.fullmatch(wanted)):
            yield f"{path} is {_written(found)}, not {_written(wanted)}"
    elif wanted != found and not shape:
        yield f"{path} is {_written(found)}, not {_written(wanted)}"


def same_but_hidden(wanted: Any, found: Any) -> bool:
    """Return True if a value is that of the trace, in which what is hidden may be anything."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(
            same_but_hidden(value, found[name]) for name, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(same_but_hidden, wanted, found))
    if isinstance(wanted, str):
        text = found if isinstance(found, str) else msgspec.json.encode(found).decode()
        return wanted == found or _same(wanted, text)
    return bool(wanted == found)


def _names(items: list[Any]) -> dict[str, Any] | None:
    """The items of a list that are told apart by a name or a URI; None if they are not."""
    for member in ("name", "uri", "uriTemplate"):
        named = {
            each[member]: each
            for each in items
            if isinstance(each, dict) and isinstance(each.get(member), str)
        }
        if items and len(named) == len(items):
            return named
    return None


def _differing_names(path: str, wanted: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    for name in sorted(wanted.keys() - found.keys()):
        yield f"{path} has no {name}"
    for name in sorted(found.keys() - wanted.keys()):
        yield f"{path} has {name}, which is not in the trace"


def _same(wanted: str, found: str) -> bool:
    """Return True if two texts are the same but for what is hidden, in linear time."""
    first, *rest = _HIDDEN.split(wanted)
    if not rest:
        return wanted == found
    *middle, last = rest
    at, end = len(first), len(found) - len(last)
    if at > end or not (found.startswith(first) and found.endswith(last)):
        return False
    for part in middle:
        at = found.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(type(value))
    return "number" if isinstance(value, (int, float)) else str(type(value))


def _at(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _written(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
