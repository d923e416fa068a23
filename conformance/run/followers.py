"""One fault of a server under one clause: who only comes upon it says so, and where it stands."""

from collections.abc import Sequence

from conformance.kit import verdicts as flaws
from conformance.kit.features import Features
from conformance.kit.model import Binding, Result, Verdict
from conformance.run.plan import Unit

NOISE = "basic/transports/stdio/stdio/nothing-but-messages"
"""The case about what a process writes between its messages; where it fails, others skip that."""
HOMES = {
    flaws.NOISE: NOISE,
    flaws.ERROR: "basic/index/error-responses/code-and-message",
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
}
"""The case that is about the form of the answers to a method, by flaws."""
LINES = "basic/transports/stdio/stdio/no-embedded-newlines"
"""The other case that is about what is a line."""
_CASES = frozenset(HOMES.values()) - {NOISE}


class Followers:
    """Knows which answers of a server were found to have the wrong form.

    What is about that form is played first; another case that ends because of it is inconclusive,
    as one cannot see with such answers what it is about.
    """

    def __init__(self) -> None:
        self._found: set[tuple[Binding, str, str]] = set()

    @staticmethod
    def in_turn(units: Sequence[Unit]) -> list[list[Unit]]:
        """Part what is played first from the others."""
        turns = [NOISE], _CASES
        first = [[unit for unit in units if unit.case.id in turn] for turn in turns]
        return [*first, [unit for unit in units if unit.case.id not in {*_CASES, NOISE}]]

    def consider(self, result: Result, features: Features) -> None:
        """Learn from a result, or change its verdict; ``features``: of that server."""
        if result.case.id == NOISE:
            features.noisy |= result.verdict is Verdict.FAILED
        if result.case.id in {*_CASES, NOISE}:
            if result.verdict is Verdict.FAILED:
                self._found.add((result.binding, result.revision, result.case.id))
            return
        home = HOMES.get(result.flaw, "")
        own = home == NOISE and result.case.id == LINES
        if not own and (result.binding, result.revision, home) in self._found:
            result.verdict = Verdict.INCONCLUSIVE
            result.detail += f"; that is what {home} finds, and hides what this case is about"
