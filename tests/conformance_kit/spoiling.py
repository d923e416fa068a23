"""Values with something wrong at one place within."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

Path = tuple[str | int, ...]
GONE = object()
"""In the place of what is not there any more."""


def places(value: Any, here: Path = ()) -> Iterator[Path]:
    """The paths to everything within."""
    items: Any = enumerate(value) if isinstance(value, list) else ()
    for key, inner in value.items() if isinstance(value, dict) else items:
        yield (*here, key)
        yield from places(inner, (*here, key))


def changed(value: Any, path: Path, wrong: Any) -> Any:
    """The value with something else at that place."""
    if not path:
        return wrong
    whole = deepcopy(value)
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    if wrong is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = wrong
    return whole
