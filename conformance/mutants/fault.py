"""What a fault is: hooks through which everything passes between the kit and a server.

A fault sees every message on its way, decoded, and everything else that is heard; what it returns
takes the place of what it saw.  The kit cannot tell an edited server from a broken one.
"""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from mcpcore_conformance.kit.heard import Done, Event, Gone, Head, Headers, Heard, Noise, Text
from mcpcore_conformance.kit.messages import encode
from mcpcore_conformance.kit.wire import Poured, Refused

Value = dict[str, Any]


class Asked(Struct):
    """One HTTP request of the kit, as far as the kit chose it."""

    method: str
    headers: dict[str, str | None]
    """By name in lower case; in a POST of a message those that replace the wire's own."""
    value: Any = None
    """The message, if it is JSON."""
    target: str | None = None
    body: bytes | None = None


class Fault(Struct, kw_only=True, eq=False, dict=True):
    """A fault without any effect; subclasses override what they break.

    One instance is made for each wire.  ``asked`` maps the ids of requests to their messages,
    ``exchanges`` the numbers of HTTP exchanges to what was asked.
    """

    asked: dict[Any, Value] = {}
    exchanges: dict[int, Asked] = {}
    _answers: list[Heard] = []

    def connecting(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options with which the connection is opened in truth: ``headers``, ``offers``."""
        return options

    def refused(self, refused: Refused) -> Refused:
        """What the kit hears of a connection that the server has not taken."""
        return refused

    def attribute(self, name: str, value: Any) -> Any:
        """What the kit sees of an attribute of the wire, ``subprotocol`` for instance."""
        return value

    def fetching(self, asked: Asked) -> Asked | None:
        """What reaches the server of an HTTP request of any method; None: nothing.

        Comes after :meth:`said` and :meth:`headers`; edit ``asked`` or a copy.
        """
        return asked

    def written(self, data: bytes) -> bytes | None:
        """What reaches the server of bytes written as they are (lines, frames); None: nothing."""
        return data

    def pouring(self, pieces: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """What reaches the server of bytes poured into a connection of HTTP."""
        return pieces

    def poured(self, pieces: tuple[bytes, ...], found: Poured) -> Poured:
        """What the kit hears of what came of them."""
        return found

    def heard(self, heard: Heard) -> Iterable[Heard]:
        """What is passed on to the hooks below of anything that is heard."""
        return (heard,)

    def said(self, value: Any, payload: bytes) -> bytes | None:
        """What reaches the server of something that the kit says; None: nothing.

        ``value`` is None if the payload is no JSON.  :meth:`answer` may be called from here.
        """
        return payload

    def headers(self, headers: dict[str, str | None]) -> dict[str, str | None]:
        """Headers that replace those of the kit on their way to the server."""
        return headers

    def message(self, value: Value) -> Iterable[Value | bytes]:
        """What the kit hears of a message of the server."""
        return (value,)

    def head(self, head: Head) -> Head:
        """What the kit hears of a response head; ``status`` and ``headers`` may be edited."""
        return head

    def other(self, heard: Event | Done | Gone | Noise) -> Iterable[Heard]:
        """What the kit hears of everything else."""
        return (heard,)

    def cutting(self, exchange: int) -> bool:
        """Whether the server notices that an exchange (0: the connection) is dropped."""
        return True

    def reached(self, reached: bool) -> bool:
        """Whether the server can be reached at another address."""
        return reached

    def finished(self) -> bool:
        """Whether the server gets to know that the kit has nothing more to say."""
        return True

    def signalled(self, number: int) -> bool:
        """Whether a signal reaches the process."""
        return True

    # for subclasses

    def answer(self, value: Value | bytes, exchange: int = 0) -> None:
        """Say something in the server's place."""
        data = value if isinstance(value, bytes) else encode(value)
        self._answers.append(Text(data, exchange))

    def answer_http(
        self,
        status: int,
        value: Value | None,
        exchange: int = 0,
        *,
        headers: Headers | None = None,
        body: bytes = b"",
    ) -> None:
        """Answer an exchange that never reaches the server, with a status and perhaps JSON."""
        kind: Headers = [] if value is None else [("content-type", "application/json")]
        self._answers.append(Head(exchange, status, [*kind, *(headers or [])]))
        if value is not None:
            self._answers.append(Text(encode(value), exchange))
        self._answers.append(Done(exchange, True, body))

    def vanish(self, reason: str, code: int | None = None) -> None:
        """End the connection."""
        self._answers.append(Gone(reason, code))

    def method_of(self, value: Value) -> str:
        """The method of a message, or of the request that it answers."""
        if "method" in value:
            return str(value["method"])
        identifier = value.get("id")
        asked = self.asked.get((type(identifier), identifier)) if _hashable(identifier) else None
        return "" if asked is None else str(asked["method"])

    def take_answers(self) -> list[Heard]:
        """What has been said in the server's place since the last time."""
        taken, self._answers = self._answers, []
        return taken

    def remember(self, value: Any) -> None:
        """Keep a request, for :meth:`method_of`."""
        if isinstance(value, dict) and "method" in value and _hashable(value.get("id")):
            self.asked[type(value.get("id")), value.get("id")] = value


Breaks = Callable[[], Fault]
"""Makes the fault of a mutant, one for each wire."""


def _hashable(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool, type(None)))
