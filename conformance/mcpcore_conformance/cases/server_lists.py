"""Cases that the pages of tools, resources and prompts share: their lists, and changes of these."""

from functools import partial

from mcpcore_conformance.kit.lists import (
    check_announced,
    check_declared,
    check_no_side_effect,
    check_same_everywhere,
    check_shape,
)
from mcpcore_conformance.kit.model import ALL, LEGACY, MODERN, Cases


def listed(case: Cases, what: str, entries: str) -> None:
    """A list that is declared, and whose ``entries`` have the shape of the revision."""
    case.must(
        "capabilities/declared",
        f"A server that lists {what} declares the capability, and the other way round.",
        ALL,
        needs=(),
        summary=f"A server with {what} declares the capability.",
    )(partial(check_declared, what=what))
    case.must(
        f"listing-{what}/shape",
        f"Pages of {what} with {entries}, and what the revision adds.",
        ALL,
        summary=f"Every page of {what}/list has the shape of its revision.",
    )(partial(check_shape, method=f"{what}/list"))


def steady(case: Cases, what: str, key: str) -> None:
    """A list that is the same for everybody, and whatever else is asked for."""
    case.must(
        "capabilities/list-not-per-connection",
        f"Both connections get the same set of {what}.",
        MODERN,
        summary=f"The set of {what} does not differ by connection.",
    )(partial(check_same_everywhere, what=what, key=key))
    case.must(
        "capabilities/list-no-side-effect",
        f"The same set of {what} before and after other requests.",
        MODERN,
        summary=f"The set of {what} does not change as a side effect of other requests.",
    )(partial(check_no_side_effect, what=what, key=key))


def announced(case: Cases, what: str, tool: str, change: str) -> None:
    """A ``change`` made by a tool, which either era announces in its own way."""
    method = f"notifications/{what}/list_changed"
    for slug, revisions, where, whom in (
        ("", LEGACY, "connection, or on the GET stream", "the client"),
        (
            "-to-listeners",
            MODERN,
            "subscription that asked for it",
            "a subscription that asks for it",
        ),
    ):
        case.should(
            f"list-changed-notification/announced{slug}",
            f"{method} on the {where}.",
            revisions,
            needs=(f"{what}.listChanged", f"tool:{tool}"),
            summary=f"A change of the {change} is announced to {whom}.",
        )(partial(check_announced, tool=tool, method=method))
