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


table.server("versions-not-named", "section-4.2.1/other-version").does(
    "Refuses other versions without naming its own.",
    answers(lambda refused: Refused(refused.reason, status=refused.status)),
)
table.server("any-version", "section-4.2.1/other-version").does(
    "Does not look at the version.", opens("edit")
)
table.server("any-key", "section-4.2.1/key-malformed").does("Takes any key.", opens("edit"))
table.server("unasked", "section-4.2.1/no-upgrade").does(
    "Upgrades without being asked to.", opens("edit")
)
table.server("any-method", "section-4.2.1/other-method").does(
    "Upgrades on POST, too.", opens("edit")
)
table.server("literally", "section-4.2.1/upgrade-in-any-case").does(
    "Compares the words of an opening letter by letter.",
    refuses(lambda options: options.get("edit") is not None),
)
table.server("chooses-for-itself", "section-4.2.2/chosen-from-offered").does(
    "Chooses a subprotocol that nobody has offered.", shows("subprotocol", "mcp.v2")
)
table.server("compresses-unasked", "section-9.1/no-extension-unasked").does(
    "Agrees on compression that nobody has offered.",
    shows("accepted", [("sec-websocket-extensions", "permessage-deflate")]),
)
table.server("any-origin", "section-10.2/foreign-origin").does(
    "Does not look at Origin.", opens("headers")
)
table.server("origin-needed", "section-10.2/no-origin").does(
    "Lets nobody in who sends no Origin.", refuses(lambda options: not options.get("headers"), 403)
)
