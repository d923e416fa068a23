"""Patterns of secrets: names of members, and forms in a text.

Literal words are looked for first, which costs next to nothing, and a form only if its word is
there.  Time is linear in the text, whatever it contains.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["FORMS", "Form", "is_quiet", "is_secret_query", "weight"]

_HARD = re.compile(r"passw|passphrase|pwd$|passcode|secret|credential|^pin$|^otp$|^cvv$")
"""Pattern for member names without punctuation, in lower case: numbers are hidden, too."""
_SOFT = re.compile(
    r"authorization|^auth$|authkey|oauth|token|cookie|jwt|bearer|apikey|accesskey|privatekey"
    r"|signingkey|encryptionkey|sessionid|sessionkey|signature$|assertion$"
)
_QUERY = re.compile(r"^code$|^key$|^sig$|^sid$|session|" + _HARD.pattern + "|" + _SOFT.pattern)
_SQUASH = re.compile(r"[^A-Za-z0-9]+")
_PROTOCOL_NAMES = frozenset(("progressToken",))
"""Members of the protocol that are named like secrets, but are none."""

_WORDS = (
    *("passw", "passphrase", "pwd", "passcode", "secret", "credential", "pin", "otp", "cvv"),
    *("auth", "token", "cookie", "jwt", "bearer", "key", "session", "signature", "assertion"),
    *("://", "eyj", "sk-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *("xox", "akia", "aiza", "private key", "\\u"),
)
"""Words in lower case; every text with a secret, by its name or its form, contains one of them.
The last one stands for names written with escapes."""


class Form(NamedTuple):
    """Form of a secret: ``find`` yields where secrets are, if one of ``words`` is in the text."""

    words: tuple[str, ...]
    find: Callable[[str], Iterator[tuple[int, int]]]


def is_quiet(text: str) -> bool:
    """Return True if nothing in a text, names of members included, can be a secret."""
    lower = text.lower()
    return not any(word in lower for word in _WORDS)


def weight(name: str) -> int:
    """Return how secret a member's value is by its name: 0 not, 1 as a text, 2 even as a number."""
    if name in _PROTOCOL_NAMES:
        return 0
    squashed = _SQUASH.sub("", name.rpartition("/")[2]).lower()
    return 2 if _HARD.search(squashed) else 1 if _SOFT.search(squashed) else 0


def is_secret_query(name: str) -> bool:
    """Return True if a parameter in the query of a URL in a text is named like a secret."""
    return _QUERY.search(_SQUASH.sub("", name).lower()) is not None


def _groups(pattern: str) -> Callable[[str], Iterator[tuple[int, int]]]:
    """Return a function that finds the first group of a pattern."""
    compiled = re.compile(pattern, re.DOTALL)
    return lambda text: (found.span(1) for found in compiled.finditer(text))


_PARAMETER = re.compile(r"(?:\A|[?&#;])([\w.~%\[\]-]{1,64})=([^&#\s\"<>\\]+)")


def _parameters(text: str) -> Iterator[tuple[int, int]]:
    for found in _PARAMETER.finditer(text):
        if is_secret_query(found[1]):
            yield found.span(2)


_HEADER = re.compile(
    r"(?<![A-Za-z0-9_])(?i:authorization)[\"']?\s{0,4}[:=]\s{0,4}[\"']?"
    r"(?:[A-Za-z0-9-]{1,32}\s{1,4})?([^\s\"',;]+)"
)


def _headers(text: str) -> Iterator[tuple[int, int]]:
    return (found.span(1) for found in _HEADER.finditer(text))


_DOTTED = re.compile(r"[\w.-]+")
_JOSE = re.compile(r"(?<![A-Za-z0-9_])eyJ[\w-]{8}")
_JOSE_PARTS = 5
"""Maximum parts of a token: those of an encrypted one (RFC 7516 section 3.1)."""


def _json_web_tokens(text: str) -> Iterator[tuple[int, int]]:
    """Find parts joined by dots, of which the first begins as a JSON object does in base64.

    One run at a time, as a run with many beginnings must not be read to its end for each.
    """
    for run in _DOTTED.finditer(text):
        parts, at, free = run[0].split("."), run.start(), 0
        for place, part in enumerate(parts[:-1]):
            found = _JOSE.search(part) if place >= free and parts[place + 1] else None
            if found is not None:
                free = place + _JOSE_PARTS
                size = sum(map(len, parts[place:free])) + len(parts[place:free]) - 1
                yield at + found.start(), at + size
            at += len(part) + 1


_BEGIN = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----")


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    while (begin := _BEGIN.search(text, at)) is not None:
        end = text.find("-----END", begin.end())
        at = len(text) if end < 0 else end
        yield begin.end(), at


FORMS = (
    Form(("://",), _groups(r"://([^/\s?#\"<>\\]{0,2000})@")),
    Form(("bearer",), _groups(r"(?<![A-Za-z0-9_])(?i:bearer)\s{1,9}([A-Za-z0-9._~+/=-]{6,})")),
    Form(("authorization",), _headers),
    Form(("=",), _parameters),
    Form(("eyj",), _json_web_tokens),
    Form(
        (
            "sk-",
            "ghp_",
            "gho_",
            "ghu_",
            "ghs_",
            "ghr_",
            "github_pat_",
            "glpat-",
            "xox",
            "akia",
            "aiza",
        ),
        _groups(
            r"(?<![A-Za-z0-9_-])(sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}"
            r"|glpat-[\w-]{16,}|xox[abeprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,})"
        ),
    ),
    Form(("private key",), _private_keys),
    Form(("mcp.auth.",), _groups(r"(?i:mcp\.auth\.)([^,\s\"\\]+)")),
    Form(
        ("passw", "pwd", "passphrase", "secret", "token", "key", "session", "cookie"),
        _groups(
            r"(?<![A-Za-z])(?i:password|passwd|pwd|passphrase|secret|client[_-]secret|api[_-]?key"
            r"|access[_-]?token|refresh[_-]?token|auth[_-]?token|session[_-]?id|token|cookie)"
            r"[\"']?\s{0,4}[:=]\s{0,4}[\"']?([^\s\"',;&<>]+)"
        ),
    ),
)
"""Forms in the order in which they are looked for."""
