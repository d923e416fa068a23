"""Mutants of clients for the page basic/utilities/tasks."""

from conformance.mutants.basic_utilities_tasks import TASK
from conformance.mutants.client_client_features import CREATE, ELICIT, refuses
from conformance.mutants.client_faults import answers, params_of
from conformance.mutants.edits import put
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import result

table = Table("basic/utilities/tasks")

for method in (CREATE, ELICIT):
    kind = method.partition("/")[0]
    table.client(f"task-of-{kind}", f"{kind}-as-ever").does(
        "Makes a task without having said so.",
        answers(method, lambda value: result(value["id"], {"task": TASK})),
    )
    table.client(f"no-{kind}", f"{kind}-as-ever").does(
        "Refuses what asks for a task.", refuses(method)
    )
table.client("tasks-everywhere", "tool-forbids", "undeclared").does(
    "Calls every tool as a task.", params_of("tools/call", put(task={"ttl": 60_000}))
)
