"""Mutants of the page basic/utilities/tasks."""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from conformance.mutants.edits import Change, drop, over, put
from conformance.mutants.fault import Breaks, Fault, Value
from conformance.mutants.faults import (
    answers_to,
    asks,
    declines,
    errors_of,
    fails,
    instead,
    meta_of,
    results_of,
    takes,
)
from conformance.mutants.http_faults import everything, header_of, one_principal
from conformance.mutants.lists import told
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


def _created(edit: Change) -> Breaks:
    """Edit the task that a call is answered with."""
    return results_of("tools/call", over("task", edit))


def _got(edit: Callable[[Value], Value]) -> Breaks:
    return results_of("tasks/get", edit)


def _named(prefix: str) -> Breaks:
    """Make ids of tasks that follow from each other; the server keeps its own."""
    numbers = count(1)
    return _created(lambda task: {**task, "taskId": f"{prefix}{next(numbers)}"})


@table.server("meta-decides", "parameter-decides")
class _Related(Fault):
    """Looks for the task in _meta first."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if (related := meta_of(value).get(RELATED)) is None:
            return payload
        return messages.encode(over("params", put(taskId=related["taskId"]))(value))


table.server("created-late", "created-at-once").does(
    "Does not say that it has made a task.",
    answers_to("tools/call", lambda value: None if "task" in value.get("result", {}) else value),
)
table.server("waits-after-answers", "input-required-status/status").does(
    "Waits for input that it has.", results_of("tasks/get", put(status="input_required"))
)


class _Changing(Fault):
    """Changes the status of a task whenever it is looked at."""

    statuses: list[str]

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "tasks/get" or "result" not in value:
            return (value,)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return ({**value, "result": {**value["result"], "status": status}},)


def _relating(value: Value) -> Value:
    return {**value, "_meta": {RELATED: {"taskId": value.get("taskId", "1")}}}


table.server("no-times", "creating-tasks/shape", "times").does(
    "Does not say when a task was made.", _created(drop("createdAt"))
)
table.server("status-of-nobody", "creating-tasks/shape").does(
    "Has a status that nobody knows.", _created(put(status="submitted"))
)
table.server("half-a-task", "getting-tasks/shape").does(
    "Gives the id and the status alone.",
    _got(lambda task: {"taskId": task["taskId"], "status": task["status"]}),
)
table.server("result-at-once", "creating-tasks/shape").does(
    "Makes no task of a call.", results_of("tools/call", lambda result: DONE)
)
table.server("begins-completed", "begins-working").does(
    "Says that a task has ended when it begins.", _created(put(status="completed"))
)
table.server("same-id", "unique").does("Gives all tasks one id.", _created(put(taskId="the task")))
table.server("numbered", "ids-not-guessable").does("Numbers its tasks.", _named(""))
table.server("long-numbered", "ids-not-guessable").does(
    "Numbers its tasks, behind a long prefix.", _named("00000000-0000-0000-0000-00000000000")
)
table.server("time-in-seconds", "times").does(
    "Counts seconds.", _got(put(lastUpdatedAt="1764066600"))
)
table.server("no-ttl", "ttl").does("Says nothing of the ttl.", _got(drop("ttl")))
table.server("no-time-to-live", "ttl").does(
    "Has a ttl that is over when it begins.", _got(put(ttl=0))
)
table.server("not-yet", "waits-for-the-end").does(
    "Answers tasks/result before there is one.", takes("tasks/result", {"task": TASK})
)
table.server("other-result", "waits-for-the-end").does(
    "Gives the result of another call.", results_of("tasks/result", lambda result: DONE)
)
table.server("works-for-ever", "waits-for-the-end").does(
    "Gives a result, and still works.", lambda: _Changing(["working"])
)
table.server("nameless-result", "of-the-result").does(
    "Does not say whose result it is.", results_of("tasks/result", drop("_meta"))
)
table.server("error-in-result", "error").does(
    "Answers with a result for a call that broke.",
    answers_to(
        "tasks/result", lambda value: messages.result(value["id"], {**DONE, "isError": True})
    ),
)
table.server("other-error", "error").does(
    "Answers with another error for a call that broke.", fails("tasks/result", -32603)
)
table.server("failure-hidden", "failed").does(
    "Does not say that a tool failed.", results_of("tasks/result", drop("isError"))
)
table.server("changes-its-mind", "terminal-is-final").does(
    "Cancels a task that was completed.", lambda: _Changing(["completed", "cancelled"])
)
table.server("cancels-later", "cancelled").does(
    "Answers before a task is cancelled.", results_of("tasks/cancel", put(status="working"))
)
table.server("completes-anyway", "cancelled").does(
    "Completes a task that was cancelled.", lambda: _Changing(["completed"])
)
table.server("cancels-anything", "of-a-finished-task", "unknown-cancel").does(
    "Cancels whatever it is asked to.", takes("tasks/cancel", {**TASK, "status": "cancelled"})
)
table.server("knows-everything", "unknown-get").does(
    "Has a task for every id.", takes("tasks/get", TASK)
)
table.server("results-of-everything", "unknown-result").does(
    "Has a result for every id.", takes("tasks/result", DONE)
)
table.server("other-code", "unknown-get", "unknown-cursor").does(
    "Has a code of its own for what it does not find.", errors_of("", put(code=-32002))
)


table.server("lists-nothing", "complete").does(
    "Lists no tasks.", results_of("tasks/list", over("tasks", lambda tasks: []))
)
table.server("any-cursor", "unknown-cursor").does(
    "Begins anew at a cursor that it does not know.", takes("tasks/list", {"tasks": []})
)
table.server("task-of-all", "forbidden").does(
    "Makes a task of every call.", takes("tools/call", {"task": TASK})
)
table.server("tasks-of-all-principals", "other-principal").does(
    "Shows a task to whoever has its id.", one_principal
)
table.server("plain-call", "required").does(
    "Calls plainly what needs a task.", takes("tools/call", DONE)
)
table.server("refuses-metadata", "undeclared").does(
    "Refuses a list with task metadata.",
    declines(asks("tools/list", lambda params: "task" in params), -32602),
)
table.server("task-of-a-list", "undeclared").does(
    "Makes a task of a list.",
    instead(
        asks("tools/list", lambda params: "task" in params),
        lambda value: messages.result(value["id"], {"task": TASK}),
    ),
)
table.server("asks-for-a-task", "asks-plainly").does(
    "Wants the client to make a task.", told("sampling/createMessage", put(task={}))
)
table.server("nameless-question", "names-the-task").does(
    "Asks without saying for which task.", told("elicitation/create", drop("_meta"))
)
table.server("other-question", "names-the-task").does(
    "Asks for another task.",
    told("elicitation/create", put(_meta={RELATED: {"taskId": "another"}})),
)
table.server("waits-and-works", "input-required-status/status").does(
    "Works on while it waits for an answer.", lambda: _Changing(["working"])
)
table.server("named-twice", "not-in-get").does("Names the task in _meta as well.", _got(_relating))
table.server("notified-twice", "task-notifications/status").does(
    "Names the task in _meta as well.", told(STATUS, _relating)
)
table.server("half-a-notification", "task-notifications/status").does(
    "Tells the status alone.",
    told(STATUS, lambda params: {"taskId": params["taskId"], "status": params["status"]}),
)
table.server("streamed", "get-not-streamed").does(
    "Answers everything with an event stream.",
    header_of(everything, "content-type", "text/event-stream"),
)
