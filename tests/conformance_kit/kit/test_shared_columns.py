"""What the kit reads in ``mcpcore.spec.methods``, as the engine does too, is what is specified.

A row that is wrong there would be wrong on both sides, and no case would notice.  So here it stands
once more, as the pages of each revision have it.
"""

from collections.abc import Iterator

import pytest

from mcpcore.spec.methods import KNOWN_METHODS, Method, lookup, lookup_embedded
from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision

OLDEST, EXPERIMENT, MODERN = (BY_NAME[n] for n in ("2024-11-05", "2025-11-25", "2026-07-28"))
TASKS, SKILLS = "io.modelcontextprotocol/tasks", "io.modelcontextprotocol/skills"

FREE = {
    "initialize",
    "notifications/initialized",
    "ping",
    "server/discover",
    "notifications/cancelled",
    "notifications/progress",
    "subscriptions/listen",
    "notifications/subscriptions/acknowledged",
    "notifications/elicitation/complete",
}
"""What may be sent whatever is declared: by who gets a request, or sends a notification."""
DECLARED = {
    # server/tools, server/resources, server/prompts: Capabilities
    "tools/list": "tools",
    "tools/call": "tools",
    "notifications/tools/list_changed": "tools.listChanged",
    "resources/list": "resources",
    "resources/templates/list": "resources",
    "resources/read": "resources",
    "resources/subscribe": "resources.subscribe",
    "resources/unsubscribe": "resources.subscribe",
    "notifications/resources/list_changed": "resources.listChanged",
    "notifications/resources/updated": "resources.subscribe",
    "prompts/list": "prompts",
    "prompts/get": "prompts",
    "notifications/prompts/list_changed": "prompts.listChanged",
    # server/utilities/completion, server/utilities/logging: Capabilities
    "completion/complete": "completions",
    "logging/setLevel": "logging",
    "notifications/message": "logging",
    # client/sampling, client/elicitation, client/roots: Capabilities
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "roots/list": "roots",
    "notifications/roots/list_changed": "roots.listChanged",
}
EXPERIMENTAL = {
    # basic/utilities/tasks: Capabilities
    "tasks/get": "tasks",
    "tasks/result": "tasks",
    "tasks/list": "tasks.list",
    "tasks/cancel": "tasks.cancel",
    "notifications/tasks/status": "tasks",
}
"""Tasks of 2025-11-25."""
SHARED = dict.fromkeys(
    ("tasks/get", "tasks/update", "tasks/cancel", "notifications/tasks"), f"extensions.{TASKS}"
)
"""Tasks of the extension: both sides declare it."""
EXTENDED = SHARED | {
    # specification/stable/skills of the extension: Capability Negotiation
    "skills/list": f"extensions.{SKILLS}",
    "skills/get": f"extensions.{SKILLS}",
    "resources/directory/read": f"extensions.{SKILLS}/directoryRead",
}
"""Those of extensions; skills are declared by the server alone."""
AS_TASK = {
    "tools/call": "tasks.requests.tools.call",
    "sampling/createMessage": "tasks.requests.sampling.createMessage",
    "elicitation/create": "tasks.requests.elicitation.create",
}
"""Requests that 2025-11-25 runs as tasks."""
ASKING = {"prompts/get", "resources/read", "tools/call"}
"""basic/patterns/mrtr: Supported Requests."""


def rows() -> Iterator[tuple[Revision, Method]]:
    """Every method, as each revision has it."""
    for revision in REVISIONS:
        for name in sorted(KNOWN_METHODS):
            for sender in ("client", "server"):
                if (row := lookup(name, sender, revision)) is not None:
                    yield revision, row
            if (row := lookup_embedded(name, revision)) is not None:
                yield revision, row


def capability(method: str, revision: Revision) -> str | None:
    if revision is EXPERIMENT and method in EXPERIMENTAL:
        return EXPERIMENTAL[method]
    if revision is MODERN and method in EXTENDED:
        return EXTENDED[method]
    if method == "completion/complete" and revision is OLDEST:
        return None  # declared since 2025-03-26
    return DECLARED.get(method)


def peer_capability(method: str, revision: Revision) -> str | None:
    if method == "notifications/elicitation/complete":
        return "elicitation.url"
    return SHARED.get(method) if revision is MODERN else None


def test_every_method_is_in_one_of_these_tables() -> None:
    declared = {*DECLARED, *EXPERIMENTAL, *EXTENDED}
    assert FREE | declared == KNOWN_METHODS
    assert not FREE & declared


@pytest.mark.parametrize(
    ("revision", "row"),
    [pytest.param(*each, id=f"{each[1].name}-{each[0].name}") for each in rows()],
)
def test_what_the_kit_judges_by(revision: Revision, row: Method) -> None:
    modern = revision is MODERN
    assert row.capability == capability(row.name, revision)
    assert row.peer_capability == peer_capability(row.name, revision)
    assert row.needs_input == (modern and row.name in ASKING)
    assert row.task_extension == (TASKS if modern and row.name == "tools/call" else None)
    assert row.task_capability == (AS_TASK.get(row.name) if revision is EXPERIMENT else None)
