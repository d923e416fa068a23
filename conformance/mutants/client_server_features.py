"""Mutants of clients for the pages server/resources, server/utilities/logging and completion."""

from urllib.parse import quote

from conformance.mutants.client_fault import ClientFault, Value
from conformance.mutants.client_faults import adds, params_of, reports
from conformance.mutants.edits import drop, put
from conformance.mutants.model import Table
from mcpcore.spec.types.base import META_LOG_LEVEL
from mcpcore_conformance.kit.messages import request

resources = Table("server/resources")
logging = Table("server/utilities/logging")
completion = Table("server/utilities/completion")


@logging.client("texts-only", "log-message-notifications/client-hears")
class _TextsOnly(ClientFault):
    """Tells of messages whose data is text."""

    def report(self, report: Value) -> Value:
        heard = report.get("notifications", [])
        kept = [each for each in heard if isinstance(each["params"].get("data"), str)]
        return {**report, "notifications": kept}


resources.client("one-code", "error-handling/client-not-found").does(
    "Knows one code only, and takes the other for a failure of its own.",
    reports(1, {"failure": "invalid"}),
)
resources.client("quotes", "reading-resources/client-exact-uri").does(
    "Quotes URIs.",
    params_of("resources/read", lambda params: {**params, "uri": quote(params["uri"], safe=":/")}),
)
resources.client("never-unsubscribes", "subscriptions/client-hears").does(
    "Subscribes again where it should not any more.", adds("resources/subscribe", put(id="again"))
)
logging.client("other-level", "setting-log-level/client-sets").does(
    "Sets another level.", params_of("logging/setLevel", lambda params: {"level": "debug"})
)
logging.client("always-logs", "per-request-log-level/client-asks").does(
    "Asks for all messages all the time.",
    params_of(
        "tools/call",
        lambda params: {**params, "_meta": {**params.get("_meta", {}), META_LOG_LEVEL: "debug"}},
    ),
)
logging.client("sets-level", "per-request-log-level/client-asks").does(
    "Sets the level by a request that there is no more.",
    adds("tools/call", lambda value: request("level", "logging/setLevel", {"level": "debug"})),
)
completion.client("wants-total", "implementation-considerations/client-partial").does(
    "Wants to know the total.", reports(0, {"failure": "invalid"})
)
completion.client("no-context", "requesting-completions/client-context").does(
    "Keeps to itself what it knows of other arguments.",
    params_of("completion/complete", drop("context")),
)
