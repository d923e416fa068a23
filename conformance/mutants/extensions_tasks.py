"""Mutants of the extension io.modelcontextprotocol/tasks."""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from conformance.mutants.edits import drop, over, put, to, where
from conformance.mutants.fault import Breaks, Fault, Value
from conformance.mutants.faults import (
    asks,
    before,
    declines,
    errors_of,
    fails,
    instead,
    misread,
    results_of,
    takes,
)
from conformance.mutants.http_faults import one_principal
from conformance.mutants.lists import told
from conformance.mutants.model import Table
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.shapes import SUBSCRIPTION

table = Table("extensions/tasks")

TASK = {
    "taskId": "made up by the mutant",
    "status": "working",
    "createdAt": "2026-07-28T10:30:00Z",
    "lastUpdatedAt": "2026-07-28T10:30:00Z",
    "ttlMs": None,
}
COMPLETE = {"resultType": "complete"}
WORKS = {"status": "working"}
DONE = {"content": [{"type": "text", "text": "done"}], **COMPLETE}


def _created(edit: Callable[[Value], Value]) -> Breaks:
    """Edit the task that a call is answered with."""
    return results_of("tools/call", where(lambda found: found.get("resultType") == "task", edit))


def _got(edit: Callable[[Value], Value]) -> Breaks:
    return results_of("tasks/get", edit)


def _numbered() -> Breaks:
    numbers = count(1)
    return _created(lambda task: {**task, "taskId": str(next(numbers))})


def _status(before: str, after: str) -> Breaks:
    return _got(over("status", lambda status: after if status == before else status))


table.server("not-yet", "resolves-at-once").does(
    "Does not find a new task.",
    before(asks("tasks/get"), declines(asks("tasks/get"), -32602), number=2),
)


@table.server("revives", "every-look")
class _Reviving(Fault):
    """Works again on what was completed."""

    _ended = False

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "tasks/get" or "result" not in value:
            return (value,)
        if self._ended:
            return (messages.result(value["id"], {**drop("result")(value["result"]), **WORKS}),)
        self._ended = value["result"].get("status") == "completed"
        return (value,)


table.server("task-for-all", "undeclared").does(
    "Makes tasks for every client.", results_of("tools/call", to({**TASK, "resultType": "task"}))
)


@table.server("any-key", "unknown-keys")
class _Renaming(Fault):
    """Takes an unknown key for a known one."""

    _key = ""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        requests = value.get("result", {}).get("inputRequests")
        self._key = next(iter(requests), self._key) if requests else self._key
        return (value,)

    def said(self, value: Any, payload: bytes) -> bytes | None:
        return payload.replace(b'"mcpcore_conformance":', f'"{self._key}":'.encode())


table.server("lost-answers", "answered").does(
    "Loses what it is told.",
    misread(lambda _value, payload: payload.replace(b'"confirm":true', b'"confirm":false')),
)


@table.server("asks-again", "partial")
class _Repeating(Fault):
    """Shows requests that were answered."""

    _seen: Value = {}

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "inputRequests" not in value.get("result", {}):
            return (value,)
        self._seen = {**self._seen, **value["result"]["inputRequests"]}
        return ({**value, "result": {**value["result"], "inputRequests": self._seen}},)


def _acknowledges(value: Value) -> Value:
    meta = {"_meta": {SUBSCRIPTION: value["id"]}, "notifications": {}}
    return messages.notification("notifications/subscriptions/acknowledged", meta)


table.server("no-ttl", "shape").does("Says nothing of the ttl.", _created(drop("ttlMs")))
table.server("task-in-task", "shape").does(
    "Puts the task into a member, as 2025-11-25 does.",
    _created(lambda task: {"task": task, "resultType": "task"}),
)
table.server("state-in-task", "shape").does(
    "Gives a task a state.", _created(put(requestState="sealed"))
)
table.server("runs-anyway", "task-needed").does(
    "Runs a call plainly that needs a task.", takes("tools/call", DONE)
)
table.server("nameless-need", "task-needed", "undeclared-get", "undeclared-listen").does(
    "Does not say which capability is missing.", errors_of("", drop("data"))
)
for method, result in (("get", {**TASK, **COMPLETE}), ("update", COMPLETE), ("cancel", COMPLETE)):
    table.server(f"{method}-for-all", f"protocol-errors/undeclared-{method}").does(
        f"Answers tasks/{method} of every client.", takes(f"tasks/{method}", result)
    )
table.server("listen-for-all", "undeclared-listen").does(
    "Takes subscriptions to tasks of every client.",
    instead(asks("subscriptions/listen"), _acknowledges),
)
table.server("knows-everything", "unknown-get").does(
    "Has a task for every id.", takes("tasks/get", {**TASK, **COMPLETE})
)
table.server("other-code", "unknown-get", "unknown-update-and-cancel").does(
    "Has a code of its own for what it does not find.", errors_of("", put(code=-32002))
)
table.server("result-elsewhere", "completed").does("Leaves the result out.", _got(drop("result")))
table.server("still-a-task", "completed").does(
    "Says of every look that it is a new task.", _got(put(resultType="task"))
)
table.server("status-of-its-own", "every-look").does(
    "Has a word of its own for what is completed.", _status("completed", "done")
)
table.server("made-again", "every-look").does(
    "Says of every look that the task was made just then.",
    _got(put(createdAt="2026-07-28T10:30:00Z")),
)
table.server("no-error", "failed").does("Does not say what went wrong.", _got(drop("error")))
table.server("completed-anyway", "failed").does(
    "Completes a task whose call broke.",
    _got(
        lambda task: (
            {**drop("error")(task), "status": "completed", "result": DONE}
            if task["status"] == "failed"
            else task
        )
    ),
)
table.server("failed-anyway", "tool-error-is-completed").does(
    "Makes a task fail whose tool failed.",
    _got(
        where(
            lambda task: task["status"] == "completed",
            put(status="failed", error={"code": 1, "message": "it failed"}),
        )
    ),
)
table.server("cancelled-task", "acknowledged").does(
    "Answers with the task.", results_of("tasks/cancel", put(**TASK))
)
table.server("cancelled-once", "acknowledged").does(
    "Refuses to cancel what was cancelled.", fails("tasks/cancel", -32602)
)
table.server("never-cancelled", "cancelled").does(
    "Works on for ever.", _status("cancelled", "working")
)
table.server("deaf", "answered").does(
    "Acknowledges answers and does not read them.", takes("tasks/update", COMPLETE)
)
table.server("no-unknown-keys", "unknown-keys").does(
    "Refuses unknown keys.", fails("tasks/update", -32602)
)
table.server("task-first", "input-before-the-task").does(
    "Names a task before it is made.", results_of("tools/call", put(taskId="1"))
)
table.server("numbered", "ids-not-guessable").does("Numbers its tasks.", _numbered())
table.server("tasks-of-all-principals", "other-principal").does(
    "Shows a task to whoever has its id.", one_principal
)
table.server("old-list", "nothing-of-2025-11-25").does(
    "Has tasks/list.", takes("tasks/list", {"tasks": [], **COMPLETE})
)
table.server("old-times", "nothing-of-2025-11-25").does(
    "Has the members of old besides.", _created(lambda task: {**task, "ttl": task["ttlMs"]})
)
table.server("half-a-task", "whole-task").does(
    "Tells the status alone.",
    told(
        "notifications/tasks",
        lambda params: {key: params[key] for key in ("taskId", "status", "_meta")},
    ),
)
table.server("never-told", "whole-task").does(
    "Acknowledges and says nothing.", told("notifications/tasks", put(status="working"))
)
