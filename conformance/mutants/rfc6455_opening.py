"""Mutants that open WebSockets to everybody."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.fault import Fault
from conformance.mutants.model import Table
from mcpcore_conformance.kit.wire import Refused

table = Table("rfc6455")


class _Opens(Fault):
    """Does not look at something in the opening."""

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options

    def connecting(self, options: dict[str, Any]) -> dict[str, Any]:
        return {name: each for name, each in options.items() if name not in self._options}


def opens(*options: str) -> Callable[[], Fault]:
    """The server sees a good opening in place of what these options make of it."""
    return lambda: _Opens(*options)


class _Refuses(Fault):
    def __init__(self, test: Callable[[dict[str, Any]], bool], status: int) -> None:
        super().__init__()
        self._test, self._status = test, status

    def connecting(self, options: dict[str, Any]) -> dict[str, Any]:
        if self._test(options):
            raise Refused(f"HTTP status {self._status}", status=self._status)
        return options


def refuses(test: Callable[[dict[str, Any]], bool], status: int = 400) -> Callable[[], Fault]:
    """Openings whose options pass the test are refused."""
    return lambda: _Refuses(test, status)


class _Shows(Fault):
    def __init__(self, name: str, value: Any) -> None:
        super().__init__()
        self._name, self._value = name, value

    def attribute(self, name: str, value: Any) -> Any:
        return self._value if name == self._name else value


def shows(name: str, value: Any) -> Callable[[], Fault]:
    """The response to the opening has this."""
    return lambda: _Shows(name, value)


class _Answers(Fault):
    def __init__(self, edit: Callable[[Refused], Refused]) -> None:
        super().__init__()
        self._edit_refused = edit

    def refused(self, refused: Refused) -> Refused:
        return self._edit_refused(refused)


def answers(edit: Callable[[Refused], Refused]) -> Callable[[], Fault]:
    """Refusals are other ones."""
    return lambda: _Answers(edit)


def _without_headers(refused: Refused) -> Refused:
    return Refused(refused.reason, status=refused.status)


table.add(
    "versions-not-named",
    "section-4.2.1/other-version",
    "Refuses other versions without naming its own.",
    answers(_without_headers),
)
table.add(
    "any-version",
    "section-4.2.1/other-version",
    "Does not look at the version.",
    opens("edit"),
)
table.add("any-key", "section-4.2.1/key-malformed", "Takes any key.", opens("edit"))
table.add("unasked", "section-4.2.1/no-upgrade", "Upgrades without being asked to.", opens("edit"))
table.add("any-method", "section-4.2.1/other-method", "Upgrades on POST, too.", opens("edit"))
table.add(
    "literally",
    "section-4.2.1/upgrade-in-any-case",
    "Compares the words of an opening letter by letter.",
    refuses(lambda options: options.get("edit") is not None),
)
table.add(
    "chooses-for-itself",
    "section-4.2.2/chosen-from-offered",
    "Chooses a subprotocol that nobody has offered.",
    shows("subprotocol", "mcp.v2"),
)
table.add(
    "compresses-unasked",
    "section-9.1/no-extension-unasked",
    "Agrees on compression that nobody has offered.",
    shows("accepted", [("sec-websocket-extensions", "permessage-deflate")]),
)
table.add(
    "any-origin",
    "section-10.2/foreign-origin",
    "Does not look at Origin.",
    opens("headers"),
)
table.add(
    "origin-needed",
    "section-10.2/no-origin",
    "Lets nobody in who sends no Origin.",
    refuses(lambda options: not options.get("headers"), 403),
)

__all__ = ["answers", "opens", "refuses", "shows", "table"]
