"""Mutants of the page basic/utilities/tasks."""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import answers_to, heads, results_of, takes
from conformance.mutants.http_faults import OnePrincipal
from conformance.mutants.lists import Entries, told
from conformance.mutants.model import Table
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.tasks import RELATED

table = Table("basic/utilities/tasks")

DONE = {"content": [{"type": "text", "text": "done"}]}
STATUS = "notifications/tasks/status"
TASK = {
    "taskId": "made up by the mutant",
    "status": "working",
    "createdAt": "2025-11-25T10:30:00Z",
    "lastUpdatedAt": "2025-11-25T10:30:00Z",
    "ttl": None,
}


def _created(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit the task that a call is answered with."""

    def change(result: Value) -> Value:
        return {**result, "task": edit(result["task"])} if "task" in result else result

    return results_of("tools/call", change)


def _got(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return results_of("tasks/get", edit)


def _without(name: str) -> Callable[[Value], Value]:
    return lambda value: {key: each for key, each in value.items() if key != name}


def _named(prefix: str) -> Callable[[], Fault]:
    """Make ids of tasks that follow from each other; the server keeps its own."""
    numbers = count(1)

    class Renaming(Fault):
        def message(self, value: Value) -> Iterable[Value | bytes]:
            task = value.get("result", {}).get("task")
            if task is None:
                return (value,)
            made = {**task, "taskId": f"{prefix}{next(numbers)}"}
            return ({**value, "result": {"task": made}},)

    return Renaming


class _Related(Fault):
    """Looks for the task in _meta first."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        params = value.get("params", {}) if isinstance(value, dict) else {}
        meta = params.get("_meta", {})
        if not isinstance(meta, dict) or RELATED not in meta:
            return payload
        task = meta[RELATED]["taskId"]
        return messages.encode({**value, "params": {**params, "taskId": task}})


class _Late(Fault):
    """Keeps its answers to calls that are to be tasks."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        return () if "task" in value.get("result", {}) else (value,)


class _Stuck(Fault):
    """Always says that a task waits for input."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "tasks/get" or "result" not in value:
            return (value,)
        return ({**value, "result": {**value["result"], "status": "input_required"}},)


class _Changing(Fault):
    """Changes the status of a task whenever it is looked at."""

    def __init__(self, *statuses: str) -> None:
        super().__init__()
        self._statuses = [*statuses]

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "tasks/get" or "result" not in value:
            return (value,)
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        return ({**value, "result": {**value["result"], "status": status}},)


def _relating(value: Value) -> Value:
    return {**value, "_meta": {RELATED: {"taskId": value.get("taskId", "1")}}}


def _named_otherwise(params: Value) -> Value:
    return {**params, "_meta": {RELATED: {"taskId": "another"}}}


table.add(
    "no-times",
    ("creating-tasks/shape", "ttl-and-resource-management/times"),
    "Does not say when a task was made.",
    _created(_without("createdAt")),
)
table.add(
    "status-of-nobody",
    "creating-tasks/shape",
    "Has a status that nobody knows.",
    _created(lambda task: {**task, "status": "submitted"}),
)
table.add(
    "half-a-task",
    "getting-tasks/shape",
    "Gives the id and the status alone.",
    _got(lambda task: {"taskId": task["taskId"], "status": task["status"]}),
)
table.add(
    "result-at-once",
    "creating-tasks/shape",
    "Makes no task of a call.",
    results_of("tools/call", lambda result: DONE),
)
table.add(
    "begins-completed",
    "task-status-lifecycle/begins-working",
    "Says that a task has ended when it begins.",
    _created(lambda task: {**task, "status": "completed"}),
)
table.add(
    "created-late",
    "result-retrieval/created-at-once",
    "Does not say that it has made a task.",
    _Late,
)
table.add(
    "same-id",
    "task-id-requirements/unique",
    "Gives all tasks one id.",
    _created(lambda task: {**task, "taskId": "the task"}),
)
table.add(
    "numbered",
    "task-isolation-and-access-control/ids-not-guessable",
    "Numbers its tasks.",
    _named(""),
)
table.add(
    "long-numbered",
    "task-isolation-and-access-control/ids-not-guessable",
    "Numbers its tasks, behind a long prefix.",
    _named("00000000-0000-0000-0000-00000000000"),
)
table.add(
    "time-in-seconds",
    "ttl-and-resource-management/times",
    "Counts seconds.",
    _got(lambda task: {**task, "lastUpdatedAt": "1764066600"}),
)
table.add(
    "no-ttl",
    "ttl-and-resource-management/ttl",
    "Says nothing of the ttl.",
    _got(_without("ttl")),
)
table.add(
    "no-time-to-live",
    "ttl-and-resource-management/ttl",
    "Has a ttl that is over when it begins.",
    _got(lambda task: {**task, "ttl": 0}),
)
table.add(
    "not-yet",
    "result-retrieval/waits-for-the-end",
    "Answers tasks/result before there is one.",
    takes("tasks/result", {"task": TASK}),
)
table.add(
    "other-result",
    "result-retrieval/waits-for-the-end",
    "Gives the result of another call.",
    results_of("tasks/result", lambda result: DONE),
)
table.add(
    "works-for-ever",
    "result-retrieval/waits-for-the-end",
    "Gives a result, and still works.",
    lambda: _Changing("working"),
)
table.add(
    "nameless-result",
    "related-task-metadata/of-the-result",
    "Does not say whose result it is.",
    results_of("tasks/result", _without("_meta")),
)
table.add(
    "error-in-result",
    "result-retrieval/error",
    "Answers with a result for a call that broke.",
    answers_to(
        "tasks/result", lambda value: messages.result(value["id"], {**DONE, "isError": True})
    ),
)
table.add(
    "other-error",
    "result-retrieval/error",
    "Answers with another error for a call that broke.",
    answers_to(
        "tasks/result", lambda value: messages.error(value["id"], -32603, "something went wrong")
    ),
)
table.add(
    "failure-hidden",
    "task-execution-errors/failed",
    "Does not say that a tool failed.",
    results_of("tasks/result", _without("isError")),
)
table.add(
    "changes-its-mind",
    "task-status-lifecycle/terminal-is-final",
    "Cancels a task that was completed.",
    lambda: _Changing("completed", "cancelled"),
)
table.add(
    "cancels-later",
    "task-cancellation/cancelled",
    "Answers before a task is cancelled.",
    results_of("tasks/cancel", lambda task: {**task, "status": "working"}),
)
table.add(
    "completes-anyway",
    "task-cancellation/cancelled",
    "Completes a task that was cancelled.",
    lambda: _Changing("completed"),
)
table.add(
    "cancels-anything",
    ("task-cancellation/of-a-finished-task", "protocol-errors/unknown-cancel"),
    "Cancels whatever it is asked to.",
    takes("tasks/cancel", {**TASK, "status": "cancelled"}),
)
table.add(
    "knows-everything",
    "protocol-errors/unknown-get",
    "Has a task for every id.",
    takes("tasks/get", TASK),
)
table.add(
    "results-of-everything",
    "protocol-errors/unknown-result",
    "Has a result for every id.",
    takes("tasks/result", DONE),
)
table.add(
    "other-code",
    ("protocol-errors/unknown-get", "protocol-errors/unknown-cursor"),
    "Has a code of its own for what it does not find.",
    answers_to(
        "",
        lambda value: (
            {**value, "error": {**value["error"], "code": -32002}} if "error" in value else value
        ),
    ),
)


def _listed(edit: Callable[[Entries], Entries]) -> Callable[[], Fault]:
    return results_of("tasks/list", lambda result: {**result, "tasks": edit(result["tasks"])})


table.add("lists-nothing", "task-listing/complete", "Lists no tasks.", _listed(lambda tasks: []))
table.add(
    "any-cursor",
    "protocol-errors/unknown-cursor",
    "Begins anew at a cursor that it does not know.",
    takes("tasks/list", {"tasks": []}),
)
table.add(
    "task-of-all",
    "tool-level-negotiation/forbidden",
    "Makes a task of every call.",
    takes("tools/call", {"task": TASK}),
)
table.add(
    "tasks-of-all-principals",
    "task-isolation-and-access-control/other-principal",
    "Shows a task to whoever has its id.",
    OnePrincipal,
)
table.add(
    "plain-call",
    "tool-level-negotiation/required",
    "Calls plainly what needs a task.",
    takes("tools/call", DONE),
)
table.add(
    "nameless-question",
    "input-required-status/names-the-task",
    "Asks without saying for which task.",
    told("elicitation/create", _without("_meta")),
)
table.add(
    "other-question",
    "input-required-status/names-the-task",
    "Asks for another task.",
    told("elicitation/create", _named_otherwise),
)
table.add(
    "waits-and-works",
    "input-required-status/status",
    "Works on while it waits for an answer.",
    lambda: _Changing("working"),
)
table.add(
    "waits-after-answers",
    "input-required-status/status",
    "Waits for input that it has.",
    _Stuck,
)
table.add(
    "meta-decides",
    "associating-task-related-messages/parameter-decides",
    "Looks for the task in _meta first.",
    _Related,
)
table.add(
    "named-twice",
    "associating-task-related-messages/not-in-get",
    "Names the task in _meta as well.",
    _got(_relating),
)
table.add(
    "notified-twice",
    "task-notifications/status",
    "Names the task in _meta as well.",
    told(STATUS, _relating),
)
table.add(
    "half-a-notification",
    "task-notifications/status",
    "Tells the status alone.",
    told(STATUS, lambda params: {"taskId": params["taskId"], "status": params["status"]}),
)


def _streamed(head: Any) -> Any:
    head.headers = [("content-type", "text/event-stream")]
    return head


table.add(
    "streamed",
    "input-required-status/get-not-streamed",
    "Answers everything with an event stream.",
    heads(_streamed),
)
