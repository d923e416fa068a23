"""Which cases somebody wants."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from mcpcore_conformance.kit.model import Case


class NoSuchCase(ValueError):
    """A pattern that no case answers to; the message says what is near."""


def select(cases: Iterable[Case], patterns: Sequence[str]) -> list[Case]:
    """The cases that one of the patterns means; without patterns all of them.

    A pattern is an id, the beginning of ids up to a slash (a page, or a page and a section), or
    has ``*``, ``?`` or ``[...]`` in it.  Raises NoSuchCase for one that means no case.
    """
    known = [*cases]
    if not patterns:
        return known
    for pattern in patterns:
        if not means_any(pattern, known):
            raise NoSuchCase(_unknown(pattern, known))
    return [case for case in known if any(means(pattern, case.id) for pattern in patterns)]


def means(pattern: str, id: str) -> bool:
    """Whether a pattern means the case of that id."""
    if any(each in pattern for each in "*?["):
        return fnmatchcase(id, pattern)
    return id == pattern or id.startswith(f"{pattern.rstrip('/')}/")


def means_any(pattern: str, cases: Iterable[Case]) -> bool:
    """Whether a pattern means one of these cases."""
    return any(means(pattern, case.id) for case in cases)


def _unknown(pattern: str, cases: Sequence[Case]) -> str:
    names = {case.id for case in cases} | {case.page for case in cases}
    parts = sorted(name for name in names if pattern.casefold() in name)
    near = parts or get_close_matches(pattern, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near[:3])}?" if near else "; --list shows all"
    return f"there is no case {pattern!r}{hint}"
