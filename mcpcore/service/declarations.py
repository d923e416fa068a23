"""Common parts of all declarations: names, icons, hints, absent members."""

import inspect
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from msgspec import convert

from mcpcore.errors import ValidatorMissing
from mcpcore.service.handlers import Visible
from mcpcore.spec.types.base import Icon

if TYPE_CHECKING:  # few features require anything
    from mcpcore.auth.scopes import Requirement

T = TypeVar("T")

CacheScope = Literal["public", "private"]

MAX_URI = 8192
"""Default maximum characters of a URI that is matched against templates."""


class FeatureOptions(TypedDict, total=False):
    """Options that tools, resources, templates and prompts have in common."""

    replace: bool
    """True to replace a feature of the same name or URI; otherwise that is an error."""
    title: str
    description: str
    """Description; default: the docstring, without its parts on parameters and results."""
    icons: Sequence[Icon | str]
    meta: Mapping[str, Any]
    """Value of the declaration's ``_meta``."""
    visible: Visible
    """Function from a principal to True if it may see and use the feature, which for others does
    not exist.  Default: all may."""
    scopes: Collection[str]
    """Scopes that a principal needs, all of them, to use the feature; it is listed without them."""
    roles: Collection[str]
    """Roles of which a principal needs one to use the feature; it is listed without them."""
    thread: bool
    """True to run the function, which must not be a coroutine function, in a worker thread: it may
    block."""


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Put the name of a declaration in front of the messages of its errors."""
    try:
        yield
    except (TypeError, ValueError, ValidatorMissing) as error:
        error.args = (f"{what}: {error}",)
        raise


def check_options(options: Mapping[str, Any], known: type) -> None:
    """Raise TypeError for an option that the TypedDict ``known`` does not have.

    Also for a coroutine function as ``visible``: what it returns counts as True, for everybody.
    """
    if unknown := options.keys() - known.__annotations__.keys():
        raise TypeError(f"there is no option {min(unknown)!r}")
    if inspect.iscoroutinefunction(options.get("visible")):
        raise TypeError("visible is a coroutine function: it must return True or False at once")


def requirement(options: FeatureOptions) -> "Requirement | None":
    """Return what the options require of a principal; None if they have neither scopes nor roles.

    Raises TypeError for a string, and for what can be read only once; ValueError for scopes that no
    header can hold, and for an empty collection, as nothing would be required.
    """
    named: Mapping[str, Any] = options
    given = [named[name] for name in ("scopes", "roles") if name in named]
    if not given:
        return None
    from mcpcore.auth.challenges import format_scopes  # late: few authorize
    from mcpcore.auth.scopes import Requirement

    for each in given:
        if isinstance(each, str) or not isinstance(each, Collection):
            what = "a string" if isinstance(each, str) else type(each).__name__
            raise TypeError(f"scopes and roles are collections of strings, not {what}")
        if not each:
            raise ValueError("empty scopes or roles let everybody in: leave the option out")
    needed = Requirement(frozenset(options.get("scopes", ())), frozenset(options.get("roles", ())))
    format_scopes(needed.scopes)
    return needed


def check_count(name: str, count: float) -> None:
    """Raise ValueError unless ``count`` is a whole number of at least 1."""
    if not count >= 1 or count % 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {count}")


def check_icons(icons: Iterable[Icon | str] | None) -> list[Icon]:
    """Return icons, each given as an Icon or by its URI.  Raises ValueError for an unsafe URI."""
    found = [Icon(src=icon) if isinstance(icon, str) else icon for icon in icons or ()]
    for icon in found:
        if not icon.is_safe:
            raise ValueError(f"icon {icon.src[:80]!r}: expected an https: or data:image/ URI")
    return found


def common_members(options: FeatureOptions, description: str) -> dict[str, Any]:
    """Return the members that all declarations have in common; ``description`` is the default."""
    return {
        "title": options.get("title") or None,
        "description": options.get("description") or description or None,
        "icons": check_icons(options.get("icons")),
        "meta": dict(options.get("meta", {})) or None,
    }


def typed(value: Any, type: type[T]) -> T | None:
    """Return a Struct from one or from a mapping with its wire names.  Raises ValueError."""
    if value is None or isinstance(value, type):
        return value
    return convert(value, type)


def cache_hints(ttl_ms: int, scope: CacheScope) -> bytes:
    """Return the members for caching, without braces (caching page).  Raises ValueError."""
    if not 0 <= ttl_ms < math.inf:
        raise ValueError(f"ttl_ms must be finite and not negative, got {ttl_ms}")
    if scope not in ("public", "private"):
        raise ValueError(f"cache scope must be 'public' or 'private', got {scope!r}")
    return f'"ttlMs":{int(ttl_ms)},"cacheScope":"{scope}"'.encode()
