"""Mutants that open WebSockets to everybody."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import drop
from conformance.mutants.fault import Fault
from conformance.mutants.faults import hooked
from conformance.mutants.model import Table
from mcpcore_conformance.kit.wire import Refused

table = Table("rfc6455")


def opens(*options: str) -> Callable[[], Fault]:
    """The server sees a good opening in place of what these options make of it."""
    return hooked(connecting=drop(*options))


def refuses(test: Callable[[dict[str, Any]], bool], status: int = 400) -> Callable[[], Fault]:
    """Openings whose options pass the test are refused."""

    def connecting(options: dict[str, Any]) -> dict[str, Any]:
        if test(options):
            raise Refused(f"HTTP status {status}", status=status)
        return options

    return hooked(connecting=connecting)


def shows(name: str, shown: Any) -> Callable[[], Fault]:
    """The response to the opening has this."""
    return hooked(attribute=lambda found, value: shown if found == name else value)


def answers(edit: Callable[[Refused], Refused]) -> Callable[[], Fault]:
    """Refusals are other ones."""
    return hooked(refused=edit)


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
