"""Credentials of programs on standard input and output, which have no OAuth.

A server learns from its environment who its client is, and gets the secrets that it needs by name;
a client gives a server secrets of the keyring by variables, never by arguments, which every user of
the machine can read.

Source: the authorization page, "Protocol Requirements" (stdio: credentials from the environment).
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mcpcore.errors import AuthorizationError

if TYPE_CHECKING:  # slow to import, and needed by few
    from mcpcore.http.principals import Principal
    from mcpcore.wire.redaction import Secret

PRINCIPAL = "MCPCORE_PRINCIPAL"
"""Variable with the name of the client."""
SCOPES = "MCPCORE_SCOPES"
"""Variable with its scopes, separated by blanks."""
ROLES = "MCPCORE_ROLES"
"""Variable with its roles, separated by blanks."""

_TOKEN = re.compile(
    r"(?<![\w-])(?:"
    r"Bearer\s+[\w.~+/-]{8,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{4,}\.[\w-]+"  # a JWT
    r"|(?:mck_|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-)[\w-]{16,})",
    re.ASCII,
)
_OPTION = re.compile(
    r"--?[\w-]*(?:token|secret|passw(?:or)?d|api-?key)(?:=(.*))?", re.ASCII | re.IGNORECASE
)
_SHORTEST = 8
"""Characters of a value that is taken for a token by the name of its option."""


def environment_principal(environ: Mapping[str, str] | None = None) -> "Principal":
    """Return the client that :data:`PRINCIPAL`, :data:`SCOPES` and :data:`ROLES` name.

    Raises AuthorizationError if they name none, or scopes that cannot be.
    """
    from mcpcore.auth.challenges import parse_scopes  # late: few authorize
    from mcpcore.http.principals import Principal

    values = os.environ if environ is None else environ
    name, scopes = values.get(PRINCIPAL, ""), values.get(SCOPES, "")
    found = parse_scopes(scopes) if scopes.strip(" ") else frozenset()
    if found is None:
        raise AuthorizationError(f"the variable {SCOPES} holds no scopes, separated by blanks")
    try:
        return Principal(name, scopes=found, roles=values.get(ROLES, "").split())
    except ValueError:
        problem = "is not printable" if name else "is not set"
        raise AuthorizationError(
            f"the variable {PRINCIPAL}, the name of the client, {problem}"
        ) from None


def environment_secret(name: str, environ: Mapping[str, str] | None = None) -> "Secret":
    """Return the secret in a variable, which no representation shows.

    Raises AuthorizationError, which names the variable, if it is not set or empty.
    """
    from mcpcore.wire.redaction import Secret  # late: few authorize

    value = (os.environ if environ is None else environ).get(name)
    if not value:
        raise AuthorizationError(f"the variable {name}, a secret, is not set")
    return Secret(value)


def keyring_secret(reference: str) -> str:
    """Return a password of the system's keyring (the extra ``keyring``), by ``SERVICE/NAME``.

    Raises AuthorizationError if there is none, ExtraMissingError without the extra.
    """
    from mcpcore_transports.auth.keyring_store import read_password  # late: few authorize

    service, slash, name = reference.partition("/")
    if not (service and slash and name):
        raise AuthorizationError("a secret of the keyring is named SERVICE/NAME")
    value = read_password(service, name)
    if value is None:
        raise AuthorizationError(f"the keyring has no secret {reference}")
    return value


def token_in(words: Sequence[str]) -> str | None:
    """Return where a token stands in a command line, None if none seems to.

    The answer is ``--token`` or ``argument 3``, and holds nothing of the token.
    """
    for place, word in enumerate(words):
        option = _OPTION.fullmatch(word)
        if option is not None:
            following = words[place + 1] if place + 1 < len(words) else ""
            value = option[1] if option[1] is not None else following
            if len(value) >= _SHORTEST and not value.startswith(("-", "$")):
                return word.partition("=")[0]
        elif _TOKEN.search(word):
            return f"argument {place}"
    return None


def argv_warning(words: Sequence[str]) -> str | None:
    """Return a warning of a token in a command line, None if none seems to stand there."""
    place = token_in(words)
    if place is None:
        return None
    return (
        f"a token seems to stand in the command line ({place}), which every user of this machine "
        "can read: pass it by a variable of the environment"
    )
