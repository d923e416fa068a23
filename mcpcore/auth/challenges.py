"""Challenges of ``WWW-Authenticate``, and the scopes in them.

Sources: RFC 9110 sections 5.3 (several lines are one list), 5.6.4 (quoted strings) and 11.6.1
(challenges); RFC 6750 section 3 (Bearer), RFC 9449 section 7.1 (DPoP), RFC 9728 section 5.1
(``resource_metadata``), RFC 6749 section 3.3 (scopes).
"""

import re
from collections.abc import Iterable, Mapping

from mcpcore.auth.metadata import printable
from mcpcore.wire.redaction import HIDDEN, Discreet

OAUTH_SCHEMES = ("bearer", "dpop")
"""Schemes of OAuth, in lower case."""
MAX_CHALLENGES = 32
MAX_LENGTH = 16 * 1024
"""Characters of all lines together that are read; challenges behind them are ignored."""

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_END = r"(?=[ \t]*(?:,|\Z))"
_CONTROL = r"\x00-\x08\x0a-\x1f\x7f"
_QUOTED = rf'"((?:[^"\\{_CONTROL}]|\\[^{_CONTROL}])*+)"'
_PARAM = re.compile(rf"({_NAME})[ \t]*=[ \t]*(?:({_NAME})|{_QUOTED}){_END}")
_SCHEME = re.compile(rf"({_NAME})(?: +|{_END})")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*" + _END)
_GAP = re.compile(r"[ \t,]*")
_METADATA = "resource_metadata"
_CUT = "\0"
"""End of a text that was cut off; it is malformed wherever it stands."""
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_SCOPES = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]+")
_SAYABLE = re.compile(r"[\t\x20-\x7e]*")


class Challenge(Discreet, frozen=True):
    """Challenge: a scheme with parameters, or with a ``token68``."""

    scheme: str
    """Authentication scheme, in lower case."""
    params: Mapping[str, str] = {}
    """Parameters by name in lower case; values as decoded from their quotes."""
    token: str | None = None

    def __shown__(self) -> Mapping[str, object]:
        return {"token": self.token and HIDDEN}

    @property
    def scopes(self) -> frozenset[str] | None:
        """Scopes of the parameter ``scope``; None if it is absent or malformed."""
        return parse_scopes(self.params.get("scope"))


def parse_challenges(lines: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the challenges of all ``WWW-Authenticate`` lines of a response, in order.

    Reading ends at the first malformed place.  A challenge that names a parameter twice is left
    out, since readers could take either value.
    """
    text = ", ".join(lines)
    if len(text) > MAX_LENGTH:
        text = text[:MAX_LENGTH] + _CUT
    found: list[Challenge] = []
    params: dict[str, str] = {}
    ambiguous: set[int] = set()
    at = _GAP.match(text).end()  # type: ignore[union-attr]  # it matches everywhere
    while at < len(text):
        if (param := _PARAM.match(text, at)) and found and found[-1].token is None:
            name = param[1].lower()
            if name in params:
                ambiguous.add(len(found) - 1)
            quoted = param[3]
            params[name] = param[2] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            at = param.end()
        elif (scheme := _SCHEME.match(text, at)) and len(found) < MAX_CHALLENGES:
            params = {}
            at = scheme.end()
            token = None
            if not _PARAM.match(text, at) and (token68 := _TOKEN68.match(text, at)):
                token, at = token68[0], token68.end()
            elif at < len(text) and text[at] != "," and not _PARAM.match(text, at):
                break
            found.append(Challenge(scheme[1].lower(), params, token))
        else:
            break
        at = _GAP.match(text, at).end()  # type: ignore[union-attr]
    return tuple(each for index, each in enumerate(found) if index not in ambiguous)


def find_challenge(challenges: Iterable[Challenge], *schemes: str) -> Challenge | None:
    """Return the first challenge of the first of ``schemes`` that has one."""
    challenges = tuple(challenges)
    for scheme in schemes:
        for challenge in challenges:
            if challenge.scheme == scheme:
                return challenge
    return None


def format_challenge(scheme: str, params: Mapping[str, str | None]) -> str:
    """Return the text of a challenge; parameters that are None are left out.

    Characters that cannot stand in a header become question marks.
    """
    parts = []
    for name, value in params.items():
        if value is not None:
            sound = "".join(c if _SAYABLE.fullmatch(c) else "?" for c in value)
            escaped = sound.replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'{name}="{escaped}"')
    return f"{scheme} {', '.join(parts)}".rstrip()


def parse_scopes(text: object) -> frozenset[str] | None:
    """Return the scopes of a space-separated list, None if it is absent, empty or malformed."""
    if not isinstance(text, str) or not _SCOPES.fullmatch(text):
        return None
    return frozenset(text.split(" ")) - {""} or None


def format_scopes(scopes: Iterable[str]) -> str:
    """Return scopes as a space-separated list in a fixed order.  Raises ValueError for others."""
    ordered = sorted(scopes)
    if not all(map(_SCOPE.fullmatch, ordered)):
        raise ValueError("a scope holds visible ASCII characters but quotes and backslashes")
    return " ".join(ordered)


def metadata_named(chosen: Challenge | None, challenges: list[Challenge]) -> str | None:
    """Return the URL of metadata that the chosen challenge names, or else another of OAuth."""
    of_oauth = [each for each in challenges if each.scheme in OAUTH_SCHEMES]
    ordered = of_oauth if chosen is None else [chosen, *of_oauth]
    return next((each.params[_METADATA] for each in ordered if _METADATA in each.params), None)


def credential_named(challenges: list[Challenge]) -> str | None:
    """Return the credential that a challenge names in its own way, None if there is none such.

    A Bearer challenge may name a realm, and be for tokens of an issuer all the same.
    """
    for challenge in challenges:
        realm = challenge.params.get("realm")
        if realm is not None:
            return printable(f"{challenge.scheme} of the realm {realm}", 100)
    if find_challenge(challenges, *OAUTH_SCHEMES) is None and challenges:
        return printable(challenges[0].scheme, 100)
    return None
