"""Common parts of all declarations: names, icons, hints, absent members."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar

from msgspec import convert

from mcpcore.service.pagination import Visible
from mcpcore.spec.types.base import Icon

T = TypeVar("T")

CacheScope = Literal["public", "private"]

MAX_URI = 8192
"""Default maximum characters of a URI that is matched against templates."""

_TOOL_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")
# Strings, which re compiles at first use: tools have no URIs.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*:"
_UNFIT = r"[\x00-\x20\x7f]"


class Options(TypedDict, total=False):
    """Options that tools, resources, templates and prompts have in common."""

    title: str
    icons: Sequence[Icon | str]
    meta: Mapping[str, Any]
    """Value of the declaration's ``_meta``."""
    visible: Visible
    """Function from a principal to True if it may see and use the feature, which for others does
    not exist.  Default: all may."""
    thread: bool
    """True to run the function, which must not be a coroutine function, in a worker thread: it may
    block."""


def runs_in_thread(options: Options, is_async: bool, what: str) -> bool:
    """Return True if the handler runs in a thread.  Raises TypeError for a coroutine function."""
    thread = options.get("thread", False)
    if thread and is_async:
        raise TypeError(f"{what}: a coroutine function does not run in a thread")
    return thread


def check_tool_name(name: str) -> str:
    """Return ``name``.  Raises ValueError unless it is 1 to 128 of ``A-Z a-z 0-9 _ . / -``.

    Source: tools page, "Tool Names" (the slash is allowed by 2025-11-25 and in wide use).
    """
    if not _TOOL_NAME.fullmatch(name):
        raise ValueError(
            f"tool name {name!r}: must be 1 to 128 characters out of A-Z a-z 0-9 _ . / -"
        )
    return name


def check_options(options: Mapping[str, Any], known: type, what: str) -> None:
    """Raise TypeError for an option that the TypedDict ``known`` does not have."""
    if unknown := options.keys() - known.__annotations__.keys():
        raise TypeError(f"{what}: there is no option {min(unknown)!r}")


def check_count(name: str, count: float) -> None:
    """Raise ValueError unless ``count`` is a whole number of at least 1."""
    if not count >= 1 or count % 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {count}")


def check_uri(uri: str) -> str:
    """Return ``uri``.  Raises ValueError if it lacks a scheme, or has blanks or controls."""
    if not re.match(_SCHEME, uri) or re.search(_UNFIT, uri):
        raise ValueError(f"{uri!r} is no absolute URI")
    return uri


def check_icons(icons: Iterable[Icon | str] | None) -> list[Icon]:
    """Return icons, each given as an Icon or by its URI.

    Raises ValueError for a URI that is neither https nor an image in a data URI, as clients must
    refuse those.
    """
    found = [Icon(src=icon) if isinstance(icon, str) else icon for icon in icons or ()]
    for icon in found:
        if not icon.is_safe:
            raise ValueError(f"icon {icon.src[:80]!r}: expected an https: or data:image/ URI")
    return found


def given(value: T | None) -> T | None:
    """Return ``value``, or None if it is empty."""
    return value or None


def typed(value: Any, type: type[T]) -> T | None:
    """Return ``value`` as a Struct of ``type``, from one or from a mapping with its wire names.

    Raises ValueError naming the invalid member.
    """
    if value is None or isinstance(value, type):
        return value
    return convert(value, type)


def cache_hints(ttl_ms: int, scope: CacheScope) -> bytes:
    """Return the members for caching, without braces (caching page).

    Raises ValueError for a negative time or an unknown scope.
    """
    if not 0 <= ttl_ms < math.inf:
        raise ValueError(f"ttl_ms must be finite and not negative, got {ttl_ms}")
    if scope not in ("public", "private"):
        raise ValueError(f"cache scope must be 'public' or 'private', got {scope!r}")
    return f'"ttlMs":{int(ttl_ms)},"cacheScope":"{scope}"'.encode()
