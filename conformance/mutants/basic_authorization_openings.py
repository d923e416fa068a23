"""Mutants of the page basic/authorization that open connections to whom they should not."""

import time
from collections.abc import Callable
from typing import Any

from conformance.mutants.fault import Fault
from conformance.mutants.model import Table
from conformance.mutants.rfc6455_opening import answers
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.tokens import read
from mcpcore_conformance.kit.wire import Refused

table = Table("basic/authorization")

Options = dict[str, Any]
_STRANGE = ("anonymous", "headers", "path")


class _LetsIn(Fault):
    """Takes some openings for good ones."""

    def __init__(self, test: Callable[[Options], bool]) -> None:
        super().__init__()
        self._test = test

    def connecting(self, options: Options) -> Options:
        if not options.get("anonymous") or not self._test(options):
            return options
        return {name: each for name, each in options.items() if name not in _STRANGE}


def _lets_in(slug: str, clause: str, summary: str, test: Callable[[Options], bool]) -> None:
    table.server(slug, clause).does(summary, lambda: _LetsIn(test))


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
_lets_in(
    "opens-to-everybody",
    "token-handling/opening-challenged",
    "Opens connections without a token.",
    lambda options: not options.get("path") and _claims(options) is None,
)
_lets_in(
    "opens-by-the-query",
    "token-requirements/opening-not-by-the-query",
    "Takes a token of the query for an opening.",
    lambda options: "access_token=" in (options.get("path") or ""),
)
_lets_in(
    "opens-to-the-past",
    "token-handling/opening-expired",
    "Opens connections for tokens that have expired.",
    lambda options: (_claims(options) or {}).get("exp", time.time()) < time.time() - 60,
)
_lets_in(
    "opens-to-any-audience",
    "token-handling/opening-audience",
    "Opens connections for tokens of other servers.",
    lambda options: (_claims(options) or {}).get("aud") == "https://mcp.example.com/mcp",
)
_lets_in(
    "opens-to-no-audience",
    "token-handling/opening-audience",
    "Opens connections for tokens of no server.",
    lambda options: "aud" not in (_claims(options) or {"aud": ""}),
)
