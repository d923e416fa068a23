"""The rules of methods that the schemas do not show, and the look-up."""

import pytest

from mcpcore.spec import types
from mcpcore.spec.capabilities import TASKS_EXTENSION
from mcpcore.spec.methods import (
    METHODS,
    MODERN_ONLY,
    Method,
    MethodKind,
    lookup,
    lookup_embedded,
)
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY, LEGACY, REVISIONS, Revision

TASKS = f"extensions.{TASKS_EXTENSION}"
V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28 = REVISIONS


def row(method: str, sender: str, revision: Revision) -> Method:
    found = lookup(method, sender, revision)
    assert found is not None, (method, sender, revision)
    return found


@pytest.mark.parametrize(
    ("method", "sender", "first", "last"),
    [
        ("initialize", "client", V2024_11_05, V2025_11_25),
        ("ping", "both", V2024_11_05, V2025_11_25),
        ("server/discover", "client", V2026_07_28, V2026_07_28),
        ("tools/call", "client", V2024_11_05, V2026_07_28),
        ("notifications/progress", "both", V2024_11_05, V2026_07_28),
        ("notifications/message", "server", V2024_11_05, V2026_07_28),
        ("elicitation/create", "server", V2025_06_18, V2026_07_28),
        ("notifications/elicitation/complete", "server", V2025_11_25, V2025_11_25),
        ("tasks/result", "both", V2025_11_25, V2025_11_25),
        ("tasks/update", "client", V2026_07_28, V2026_07_28),
        ("notifications/tasks", "server", V2026_07_28, V2026_07_28),
    ],
)
def test_who_and_when(method: str, sender: str, first: Revision, last: Revision) -> None:
    (found,) = [each for each in METHODS if each.name == method]
    senders = {"client": found.client, "server": found.server or found.embedded}
    assert [who for who, span in senders.items() if span] == (
        [sender] if sender != "both" else ["client", "server"]
    )
    had = [revision for revision in REVISIONS if found.occurs_in(revision)]
    assert had == [*REVISIONS[first.position : last.position + 1]]


@pytest.mark.parametrize(
    ("method", "sender", "revisions"),
    [
        ("notifications/progress", "client", LEGACY),
        ("notifications/progress", "server", REVISIONS),
        ("notifications/cancelled", "server", REVISIONS),
        ("roots/list", "server", LEGACY),
        ("sampling/createMessage", "server", LEGACY),
        ("elicitation/create", "server", (V2025_06_18, V2025_11_25)),
        ("elicitation/create", "client", ()),
        ("logging/setLevel", "client", LEGACY),
        ("tasks/list", "server", (V2025_11_25,)),
        ("tasks/get", "client", (V2025_11_25, V2026_07_28)),
        ("tasks/get", "server", (V2025_11_25,)),
        ("no/such", "client", ()),
    ],
)
def test_where_a_method_is_on_the_wire(
    method: str, sender: str, revisions: tuple[Revision, ...]
) -> None:
    assert tuple(r for r in REVISIONS if lookup(method, sender, r) is not None) == revisions


@pytest.mark.parametrize("revision", REVISIONS)
def test_requests_of_the_server_are_embedded_where_they_are_not_on_the_wire(
    revision: Revision,
) -> None:
    for method in ("roots/list", "sampling/createMessage", "elicitation/create"):
        found = lookup_embedded(method, revision)
        assert (found is not None) == revision.input_rounds
        assert found is None or found.embedded is not None
        assert found is None or lookup(method, "server", revision) is None
    assert lookup_embedded("tools/call", revision) is None


@pytest.mark.parametrize(
    ("method", "sender", "revision", "capability", "peer"),
    [
        ("initialize", "client", LATEST_LEGACY, None, None),
        ("ping", "server", LATEST_LEGACY, None, None),
        ("server/discover", "client", LATEST, None, None),
        ("tools/list", "client", V2024_11_05, "tools", None),
        ("tools/call", "client", LATEST, "tools", None),
        ("prompts/get", "client", LATEST, "prompts", None),
        ("resources/templates/list", "client", LATEST, "resources", None),
        ("resources/subscribe", "client", LATEST_LEGACY, "resources.subscribe", None),
        ("resources/unsubscribe", "client", LATEST_LEGACY, "resources.subscribe", None),
        # The capability came with 2025-03-26, the method was there before.
        ("completion/complete", "client", V2024_11_05, None, None),
        ("completion/complete", "client", V2025_03_26, "completions", None),
        ("completion/complete", "client", LATEST, "completions", None),
        ("logging/setLevel", "client", V2024_11_05, "logging", None),
        ("notifications/message", "server", LATEST, "logging", None),
        ("notifications/tools/list_changed", "server", LATEST, "tools.listChanged", None),
        ("notifications/prompts/list_changed", "server", LATEST, "prompts.listChanged", None),
        ("notifications/resources/list_changed", "server", LATEST, "resources.listChanged", None),
        ("notifications/resources/updated", "server", LATEST, "resources.subscribe", None),
        ("notifications/roots/list_changed", "client", LATEST_LEGACY, "roots.listChanged", None),
        ("sampling/createMessage", "server", LATEST_LEGACY, "sampling", None),
        ("elicitation/create", "server", LATEST_LEGACY, "elicitation", None),
        ("roots/list", "server", LATEST_LEGACY, "roots", None),
        ("notifications/elicitation/complete", "server", V2025_11_25, None, "elicitation.url"),
        ("tasks/get", "client", V2025_11_25, "tasks", None),
        ("tasks/list", "server", V2025_11_25, "tasks.list", None),
        ("tasks/cancel", "client", V2025_11_25, "tasks.cancel", None),
        ("tasks/get", "client", LATEST, TASKS, TASKS),
        ("tasks/update", "client", LATEST, TASKS, TASKS),
        ("tasks/cancel", "client", LATEST, TASKS, TASKS),
        ("notifications/tasks", "server", LATEST, TASKS, TASKS),
    ],
)
def test_what_must_be_declared(
    method: str, sender: str, revision: Revision, capability: str | None, peer: str | None
) -> None:
    found = row(method, sender, revision)
    assert (found.capability, found.peer_capability) == (capability, peer)


HEADERS = {
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/cancel": "taskId",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tools/call": "name",
}
FILTERS = {
    "notifications/prompts/list_changed": "prompts_list_changed",
    "notifications/resources/list_changed": "resources_list_changed",
    "notifications/resources/updated": "resource_subscriptions",
    "notifications/tasks": "task_ids",
    "notifications/tools/list_changed": "tools_list_changed",
}


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_row_holds_the_rules_of_its_revision_only(revision: Revision) -> None:
    for method in {each.name for each in METHODS}:
        for sender in ("client", "server"):
            found = lookup(method, sender, revision)
            if found is None:
                continue
            assert found.name == method
            mirrored = found.subject if found.header else None
            assert mirrored == (HEADERS.get(method) if revision.mirror_headers else None)
            assert found.header_params == (revision.mirror_headers and method == "tools/call")
            assert found.filter == (FILTERS.get(method) if revision.modern else None)
            ours = method.startswith("skills/") or "tasks" in method or "directory" in method
            assert (found.extension is not None) == (revision.modern and ours)
            assert found.needs_input <= revision.input_rounds
            assert found.cacheable <= revision.cache_hints
            assert (found.task_extension is not None) == (
                revision.modern and method == "tools/call"
            )


def test_every_filter_is_a_field_of_the_subscription_filter() -> None:
    fields = set(types.SubscriptionFilter.__struct_fields__)
    assert {each.filter for each in METHODS if each.filter} == fields


def test_every_subject_is_a_member_of_the_params() -> None:
    for each in METHODS:
        if each.subject is not None:
            assert each.subject in each.params.__struct_encode_fields__, each.name


@pytest.mark.parametrize(
    ("method", "revision", "path"),
    [
        ("tools/call", V2025_11_25, "tasks.requests.tools.call"),
        ("tools/call", V2025_06_18, None),
        ("tools/call", LATEST, None),
    ],
)
def test_what_may_run_as_an_experimental_task(
    method: str, revision: Revision, path: str | None
) -> None:
    assert row(method, "client", revision).task_capability == path


@pytest.mark.requirement("basic/patterns/cancellation/server-only-listen")
def test_a_modern_server_may_cancel_nothing_but_its_listen_streams() -> None:
    only = frozenset({"subscriptions/listen"})
    assert row("notifications/cancelled", "server", LATEST).about == only
    assert row("notifications/cancelled", "client", LATEST).about is None
    for revision in LEGACY:
        assert row("notifications/cancelled", "server", revision).about is None


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("server/discover", True),
        ("subscriptions/listen", True),
        ("tasks/update", True),
        ("notifications/tasks", True),
        ("notifications/subscriptions/acknowledged", True),
        ("tasks/get", False),
        ("tools/call", False),
        ("initialize", False),
        ("no/such", False),
    ],
)
def test_modern_only(method: str, expected: bool) -> None:
    assert (method in MODERN_ONLY) is expected


def test_results_belong_to_requests() -> None:
    for each in METHODS:
        assert (each.result is not None) == (each.kind is MethodKind.REQUEST), each.name
        assert each.name.startswith("notifications/") == (each.kind is MethodKind.NOTIFICATION)
        assert any(map(each.occurs_in, REVISIONS)), each.name


def test_one_row_for_each_method_but_for_the_two_kinds_of_tasks() -> None:
    names = [each.name for each in METHODS]
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"tasks/get", "tasks/cancel"}
    for name in twice:
        old, new = (each for each in METHODS if each.name == name)
        assert (old.extension, new.extension) == (None, TASKS_EXTENSION)
        assert not any(
            old.occurs_in(revision) and new.occurs_in(revision) for revision in REVISIONS
        )
