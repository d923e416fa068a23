"""Rules of silence: of an exchange until its event stream begins, and of an open stream."""

from collections.abc import Callable

from mcpcore.http.settings import HttpSettings
from tests.simulation.rules import demand

_SLACK = 0.01
_TWO_LOOKS = 2
"""A stream is looked at once in each ``heartbeat``: whether it was silent since the last time."""
_BEGINS = "an answer that is slow makes an event stream"
_BEATS = "no event stream is silent for long"


class Silence:
    """The silence of one exchange, by a clock that does not jump: those that do jump ahead."""

    __slots__ = ("_due", "_rule", "_settings", "_since", "_slack")

    def __init__(self, settings: HttpSettings, slack: Callable[[float, float], float]) -> None:
        """``slack``: seconds more that it may take, of what has begun and ends at these times."""
        self._settings = settings
        self._slack = slack
        self._rule = ""
        self._since = 0.0
        self._due: float | None = None
        """Until then something has to leave."""

    def asked(self, time: float) -> None:
        """A request has arrived that may be answered by an event stream."""
        self._await(_BEGINS, time, self._settings.json_delay)

    def said(self, time: float) -> None:
        """The head of an event stream, or a part of it, leaves."""
        self.look(time)
        beat = self._settings.heartbeat
        self._await(_BEATS, time, None if beat is None else beat * _TWO_LOOKS)

    def over(self, time: float) -> None:
        """Nothing is due: the response is complete, is no stream, or waits for the network."""
        self.look(time)
        self._due = None

    def look(self, time: float) -> None:
        """Demand that nothing that is due has been missing."""
        due = self._due
        kept = due is None or time <= due + _SLACK + self._slack(self._since, time)
        demand(kept, self._rule, due, time)

    def _await(self, rule: str, time: float, length: float | None) -> None:
        self._rule, self._since = rule, time
        self._due = None if length is None else time + length
