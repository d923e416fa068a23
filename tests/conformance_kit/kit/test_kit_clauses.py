"""The place of a clause is one that its revision has."""

import pytest

from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision
from mcpcore_conformance.kit.clauses import PLACES, clause_in
from mcpcore_conformance.kit.model import EXTENSION, OWN, RFC
from mcpcore_conformance.run.registry import all_cases

_HANDSHAKE = {
    *("basic/index", "basic/lifecycle", "basic/transports"),
    *("basic/utilities/cancellation", "basic/utilities/ping", "basic/utilities/progress"),
    *("client/roots", "client/sampling"),
    *("server/prompts", "server/resources", "server/tools"),
    *("server/utilities/completion", "server/utilities/logging", "server/utilities/pagination"),
}
PAGES = {
    "2024-11-05": _HANDSHAKE | {"basic/messages"},
    "2025-03-26": _HANDSHAKE | {"basic/authorization"},
    "2025-06-18": _HANDSHAKE
    | {"basic/authorization", "basic/security_best_practices", "client/elicitation"},
    "2025-11-25": _HANDSHAKE
    | {"basic/authorization", "basic/security_best_practices", "client/elicitation"}
    | {"basic/utilities/tasks"},
    "2026-07-28": {
        *("basic/authorization/index", "basic/authorization/authorization-server-discovery"),
        "basic/authorization/client-registration",
        "basic/authorization/security-considerations",
        *("basic/authorization", "basic/index", "basic/versioning", "server/discover"),
        *("basic/patterns/cancellation", "basic/patterns/index", "basic/patterns/mrtr"),
        *("basic/patterns/progress", "basic/patterns/subscriptions"),
        *("basic/transports/index", "basic/transports/stdio", "basic/transports/streamable-http"),
        *("client/elicitation", "client/roots", "client/sampling"),
        *("server/prompts", "server/resources", "server/tools", "server/utilities/caching"),
        *("server/utilities/completion", "server/utilities/logging"),
        "server/utilities/pagination",
    },
}


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda row: row.name)
def test_each_clause_is_on_a_page_of_its_revision(revision: Revision) -> None:
    found = {
        case.clause_in(revision.name).partition("#")[0]
        for case in all_cases()
        if case.holds_in(revision) and not case.page.startswith((OWN, RFC, EXTENSION))
    }
    assert len(found) > 10
    assert found <= {f"{revision.name}/{page}" for page in PAGES[revision.name]}


@pytest.mark.parametrize(
    ("page", "section", "revision", "clause"),
    [
        (
            *("basic/patterns/cancellation", "timeouts", "2025-11-25"),
            "2025-11-25/basic/lifecycle#timeouts",
        ),
        (
            *("basic/patterns/progress", "progress-flow", "2024-11-05"),
            "2024-11-05/basic/utilities/progress#progress-flow",
        ),
        (
            *("basic/patterns/progress", "progress-flow", "2026-07-28"),
            "2026-07-28/basic/patterns/progress#progress-flow",
        ),
        (
            *("basic/transports/streamable-http", "security-endpoint", "2025-06-18"),
            "2025-06-18/basic/transports#security-warning",
        ),
        (*("basic/transports/stdio", "stdio", "2026-07-28"), "2026-07-28/basic/transports/stdio"),
        (*("basic/index", "error-responses", "2024-11-05"), "2024-11-05/basic/messages#responses"),
        (*("server/tools", "calling-tools", "2024-11-05"), "2024-11-05/server/tools#calling-tools"),
    ],
)
def test_places(page: str, section: str, revision: str, clause: str) -> None:
    assert clause_in(page, section, BY_NAME[revision]) == clause


def test_no_revision_has_two_places_for_a_page() -> None:
    for places in PLACES.values():
        for row in REVISIONS:
            assert sum(row in place.revisions for place in places) <= 1
