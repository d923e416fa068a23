"""What a request of the kit has for credentials, for mutants that look at it wrongly."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.fault import Asked
from conformance.mutants.http_faults import Concerns
from mcpcore_conformance.kit.tokens import read

Part = dict[str, Any]
Test = Callable[[Part, Part], bool]
"""Takes header and claims."""
BEARER, DPOP = "bearer", "dpop"


def scheme_of(asked: Asked) -> str:
    """Return the scheme of the credentials, in lower case."""
    return (asked.headers.get("authorization") or "").partition(" ")[0].lower()


def token_of(asked: Asked) -> str:
    """Return the credentials behind their scheme."""
    return (asked.headers.get("authorization") or "").partition(" ")[2]


def bearing(test: Test, scheme: str = "") -> Concerns:
    """Whether a request has a token, of that scheme if one is named, that passes a test."""

    def concerned(asked: Asked) -> bool:
        return scheme in ("", scheme_of(asked)) and _passes(token_of(asked), test)

    return concerned


def proving(test: Test = lambda _header, _claims: True) -> Concerns:
    """Whether a request has a proof that passes a test."""
    return lambda asked: _passes(asked.headers.get("dpop") or "", test)


def _passes(token: str, test: Test) -> bool:
    try:
        header, claims = read(token)
    except ValueError:
        return False
    return test(header, claims)
