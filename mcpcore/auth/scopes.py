"""Scopes and roles: hierarchies, and what an operation requires.

Sources: RFC 6749 section 3.3, RFC 6750 section 3.1; the authorization page of 2026-07-28, "Scope
Challenge Handling" (hierarchies count, all scopes that are needed stand in one challenge).
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec
from msgspec import Raw, Struct

from mcpcore.auth.challenges import format_challenge, format_scopes
from mcpcore.spec.errors import FORBIDDEN, ErrorData


class ScopeTree:
    """Scopes that imply others: ``{"notes:admin": {"notes:write"}}``.

    Implication is transitive.  Raises ValueError for scopes that cannot be sent.
    """

    def __init__(self, implied: Mapping[str, Collection[str]] | None = None) -> None:
        self._implied: dict[str, frozenset[str]] = {}
        for scope, below in (implied or {}).items():
            format_scopes([scope, *below])
            self._implied[scope] = self._below(scope, implied or {})

    @staticmethod
    def _below(scope: str, implied: Mapping[str, Collection[str]]) -> frozenset[str]:
        found = {scope}
        left = [scope]
        while left:
            for each in implied.get(left.pop(), ()):
                if each not in found:
                    found.add(each)
                    left.append(each)
        return frozenset(found)

    def all_of(self, scopes: Iterable[str]) -> frozenset[str]:
        """Return scopes with all that they imply."""
        if not self._implied:
            return frozenset(scopes)
        found: set[str] = set()
        for scope in scopes:
            found |= self._implied.get(scope, {scope})
        return frozenset(found)


class Requirement(Struct, frozen=True):
    """Requirement of an operation: all of the scopes, and one of the roles if there are any."""

    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()

    def missing(self, scopes: Collection[str], roles: Collection[str]) -> "Missing | None":
        """Return what is missing; None if nothing is.  ``scopes``: with all that they imply."""
        if self.roles and self.roles.isdisjoint(roles):
            return Missing(role=True)
        return None if self.scopes <= frozenset(scopes) else Missing(self.scopes)


class Missing(Struct, frozen=True):
    """Permissions that a request lacks for an operation."""

    needed: frozenset[str] = frozenset()
    """All scopes that the operation requires, for the challenge; none if no scope would help."""
    role: bool = False
    """True if none of the roles that it requires is held: no scope would help."""

    @property
    def text(self) -> str:
        """Name of the lack, which may be shown to anybody."""
        return "a role is missing" if self.role else "scopes are missing"

    @property
    def error(self) -> str | None:
        """Error code of the challenge; None if no scope would help: no client asks for any then."""
        return "insufficient_scope" if self.needed else None

    @property
    def challenge(self) -> str:
        """Challenge of the scheme Bearer for all scopes that are needed (RFC 6750 section 3.1)."""
        params = {"error": self.error, "error_description": self.text}
        return format_challenge("Bearer", {**params, "scope": format_scopes(self.needed) or None})


class _Needed(Struct, frozen=True):
    scope: list[str]


def challenge_in(error: ErrorData) -> str | None:
    """Return the challenge for the scopes that an error 1004 names, None if it names none.

    It stands for the one of a status 403 where a request is refused by an error alone.
    """
    if error.code != FORBIDDEN or not isinstance(error.data, Raw):
        return None
    try:
        needed = frozenset(msgspec.json.decode(error.data, type=_Needed).scope)
        return Missing(needed).challenge if needed else None
    except (ValueError, RecursionError):
        return None
