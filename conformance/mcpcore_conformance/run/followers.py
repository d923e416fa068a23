"""One fault of a program under one clause: who only comes upon it says so, and where it stands."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mcpcore_conformance.kit import apart
from mcpcore_conformance.kit import verdicts as flaws
from mcpcore_conformance.kit.model import Binding, Result, Side, Verdict
from mcpcore_conformance.run.plan import Unit

HOMES = {
    flaws.NOISE: "basic/transports/stdio/stdio/nothing-but-messages",
    flaws.ERROR: "basic/index/error-responses/code-and-message",
    flaws.END_OF_INPUT: "basic/transports/stdio/shutdown/end-of-input",
    flaws.TERMINATED: "basic/lifecycle/stdio/terminated",
    flaws.MIRROR: "server/tools/x-mcp-header/token",
    "initialize": "basic/lifecycle/initialization/answered",
    "server/discover": "server/discover/response/answered",
    "ping": "basic/utilities/ping/behavior-requirements/empty",
    "tools/list": "server/tools/listing-tools/shape",
    "tools/call": "server/tools/calling-tools/result-shape",
    "resources/list": "server/resources/listing-resources/shape",
    "resources/templates/list": "server/resources/resource-templates/shape",
    "resources/read": "server/resources/reading-resources/shape",
    "resources/subscribe": "server/resources/subscriptions/accepted",
    "resources/unsubscribe": "server/resources/subscriptions/accepted",
    "logging/setLevel": "server/utilities/logging/setting-log-level/accepted",
    "prompts/list": "server/prompts/listing-prompts/shape",
    "prompts/get": "server/prompts/getting-a-prompt/shape",
    "completion/complete": "server/utilities/completion/completion-results/shape",
    apart.TTL: "server/utilities/caching/time-to-live-ttl-field/not-negative",
    apart.SCOPE: "server/utilities/caching/cache-scope-field/known",
    apart.CURSOR: "server/utilities/pagination/response-format/next-cursor",
    apart.AGREED: "basic/lifecycle/version-negotiation/unknown-version",
}
"""Of servers: the case about the form of the answers to a method, or about an end, by flaws."""
HOMES_OF_CLIENTS = {
    flaws.NOISE: "basic/transports/stdio/basic-transports-stdio/client-nothing-else",
    flaws.MESSAGE: "basic/index/messages/client-json-rpc",
    flaws.ID: "basic/index/requests/client-id",
    flaws.ARRAY: "basic/transports/stdio/basic-transports-stdio/client-individual-messages",
    flaws.BATCH: "basic/transports/streamable-http/sending-messages/client-single-message",
}
"""Of clients, by flaws."""
OTHER_HOMES = {
    flaws.NOISE: (
        "basic/transports/stdio/stdio/no-embedded-newlines",
        "basic/transports/stdio/basic-transports-stdio/client-one-line",
    ),
}
"""Further cases that are about a flaw themselves, by flaws."""


_OPENINGS = ("initialize", "server/discover")


class Noisy(Protocol):
    """What was found of a program before its cases."""

    noisy: bool
    """Whether it writes what is no message; that is skipped where it is known."""
    forgiven: set[str]
    """Flaws of messages that were found, and are passed over."""


class Followers:
    """Knows which faults of a program were found by the cases that are about them.

    Those are played first; another case that ends because of such a fault is inconclusive, as one
    cannot see what it is about.
    """

    def __init__(self, side: Side) -> None:
        self.homes: Mapping[str, str] = HOMES if side is Side.SERVER else HOMES_OF_CLIENTS
        first = {self.homes[each]: 0 for each in _OPENINGS if each in self.homes}
        first |= {self.homes[each]: 0 for each in (flaws.MESSAGE,) if each in self.homes}
        noise = {self.homes[flaws.NOISE]: 1}
        self._turns = dict.fromkeys(self.homes.values(), 2) | noise | first
        """When a case is played that is about a fault: first what all others begin with, or are
        made of, then what is noise, as that is skipped."""
        self._found: set[tuple[str, str, Binding]] = set()
        late = (apart.TTL, apart.SCOPE, apart.CURSOR, flaws.MIRROR)
        # they look at results, whose own cases come first
        self._turns |= {self.homes[each]: 3 for each in late if each in self.homes}

    def in_turn(self, units: Sequence[Unit]) -> list[list[Unit]]:
        """Part what is played first from the others."""
        last = max(self._turns.values()) + 1
        return [
            [unit for unit in units if self._turns.get(unit.case.id, last) == turn]
            for turn in range(last + 1)
        ]

    def home(self, unit: Unit, result: Result) -> tuple[str, str, Binding] | None:
        """The key of the case that is about what has ended this one; None if that is its own."""
        id = self.homes.get(result.flaw, "")
        last = max(self._turns.values()) + 1
        later = self._turns.get(unit.case.id, last) > self._turns.get(id, last)
        if not id or not later or unit.case.id in OTHER_HOMES.get(result.flaw, ()):
            return None
        return id, unit.revision.name, unit.binding

    def finds(self, key: tuple[str, str, Binding]) -> bool:
        """Whether a case that was played finds the fault that it is about."""
        return key in self._found

    def consider(self, unit: Unit, result: Result, features: Noisy) -> None:
        """Learn from a result, or change its verdict; ``features``: of that program."""
        if unit.case.id in self._turns:
            about_it = self.homes.get(result.flaw) == unit.case.id
            weak = about_it and result.verdict is Verdict.WEAK
            if result.verdict is Verdict.FAILED and unit.case.id == self.homes[flaws.NOISE]:
                features.noisy = True
            if about_it and result.flaw in flaws.MISMADE:
                features.forgiven.add(result.flaw)
            if result.verdict is Verdict.FAILED or weak:
                self._found.add(unit.key)
        home = self.home(unit, result)
        if home is not None and self.finds(home):
            result.verdict = Verdict.INCONCLUSIVE
            result.detail += f"; that is what {home[0]} finds, and hides what this case is about"
