"""Challenges of WWW-Authenticate, by the kit's own reading.

Source: RFC 9110 sections 11.2, 11.3 and 11.6.1.
"""

import re

from msgspec import Struct

_TOKEN = r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+"  # noqa: S105 - a pattern
_SCHEME = re.compile(rf"({_TOKEN})(?:[ \t]+|$|(?=,))")
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))")


class Challenge(Struct):
    """One challenge: its scheme in lower case, and its parameters in order."""

    scheme: str
    parameters: list[tuple[str, str]]
    """Names in lower case; values without their quotes."""

    def get(self, name: str) -> str | None:
        """Return a parameter, the first of that name."""
        return next((value for each, value in self.parameters if each == name), None)


def challenges(text: str | None) -> list[Challenge] | None:
    """Return the challenges of a header, its lines joined by commas; None if it cannot be read."""
    found: list[Challenge] = []
    rest = (text or "").strip(" \t,")
    while rest:
        if found and (parameter := _PARAMETER.match(rest)):
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[-1].parameters.append((name.lower(), value))
            rest = rest[parameter.end() :]
        elif scheme := _SCHEME.match(rest):
            found.append(Challenge(scheme[1].lower(), []))
            rest = rest[scheme.end() :]
            if _PARAMETER.match(rest):
                continue
            if token68 := _TOKEN68.match(rest):
                rest = rest[token68.end() :]
        else:
            return None
        rest = rest.lstrip(" \t")
        if rest and rest[0] != ",":
            return None
        rest = rest.lstrip(" \t,")
    return found


def find_challenge(text: str | None, scheme: str) -> Challenge | None:
    """Return the first challenge of a scheme, in lower case."""
    return next((each for each in challenges(text) or () if each.scheme == scheme), None)
