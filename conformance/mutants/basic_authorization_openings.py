"""Mutants of the page basic/authorization that open connections to whom they should not."""

import time
from collections.abc import Callable
from typing import Any

from conformance.mutants.fault import Fault
from conformance.mutants.faults import hooked
from conformance.mutants.model import Table
from conformance.mutants.rfc6455_opening import answers
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.tokens import read
from mcpcore_conformance.kit.wire import Refused

table = Table("basic/authorization")

Options = dict[str, Any]
_STRANGE = ("anonymous", "headers", "path")


def _lets_in(test: Callable[[Options], bool]) -> Callable[[], Fault]:
    """Take some openings for good ones."""

    def connecting(options: Options) -> Options:
        if not options.get("anonymous") or not test(options):
            return options
        return {name: each for name, each in options.items() if name not in _STRANGE}

    return hooked(connecting=connecting)


def _claims(options: Options) -> dict[str, Any] | None:
    """The claims of the token of an opening, if it has one."""
    value = header(options.get("headers") or [], "authorization")
    return None if value is None else read(value.partition(" ")[2])[1]


table.server("opening-wants-a-password", "token-handling/opening-challenged").does(
    "Challenges openings without a token by another scheme.",
    answers(
        lambda refused: Refused(
            refused.reason, status=refused.status, headers=[("www-authenticate", "Basic")]
        )
    ),
)
table.server("opening-forbidden", "token-handling/opening-challenged").does(
    "Refuses openings without a token with 403.",
    answers(lambda refused: Refused(refused.reason, status=403, headers=refused.headers)),
)
table.server("opens-to-everybody", "token-handling/opening-challenged").does(
    "Opens connections without a token.",
    _lets_in(lambda options: not options.get("path") and _claims(options) is None),
)
table.server("opens-by-the-query", "token-requirements/opening-not-by-the-query").does(
    "Takes a token of the query for an opening.",
    _lets_in(lambda options: "access_token=" in (options.get("path") or "")),
)
table.server("opens-to-the-past", "token-handling/opening-expired").does(
    "Opens connections for tokens that have expired.",
    _lets_in(lambda options: (_claims(options) or {}).get("exp", time.time()) < time.time() - 60),
)
table.server("opens-to-any-audience", "token-handling/opening-audience").does(
    "Opens connections for tokens of other servers.",
    _lets_in(lambda options: (_claims(options) or {}).get("aud") == "https://mcp.example.com/mcp"),
)
table.server("opens-to-no-audience", "token-handling/opening-audience").does(
    "Opens connections for tokens of no server.",
    _lets_in(lambda options: "aud" not in (_claims(options) or {"aud": ""})),
)
