"""The rules that a saved trace is checked by: which clause each of them is.

A rule stands for one row or several of :mod:`mcpcore_conformance.requirements`, from which its
clause, its strength and the revisions that have it are taken; where the specification's schema or
another document is the source, the rule says so itself.
"""

from msgspec import Struct

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.requirements import REQUIREMENTS, Requirement

_ROWS = {row.id: row for row in REQUIREMENTS}


class Verdict(Struct, frozen=True):
    """What a rule says in one revision."""

    clause: str
    strength: str
    requirement: str = ""
    """The row of the requirements; "" if the rule is of another source."""


class Rule(Struct, frozen=True):
    """One thing that is looked for."""

    name: str
    text: str
    """What must hold."""
    requirements: tuple[str, ...] = ()
    clause: str = ""
    """The source, if it is no row of the requirements."""

    @property
    def rows(self) -> list[Requirement]:
        """The requirements that it stands for."""
        return [_ROWS[name] for name in self.requirements]

    def verdict(self, revision: Revision | None) -> Verdict | None:
        """The clause that holds in ``revision`` (None: not known); None if there is none."""
        if self.clause:
            return Verdict(self.clause, "MUST")
        for row in self.rows:
            if revision is None or revision in row.revisions:
                return Verdict(row.clause, row.strength.value, row.id)
        return None


def _rule(name: str, text: str, *requirements: str, clause: str = "") -> Rule:
    return Rule(name, text, requirements, clause)


_INDEX, _LIFE, _HTTP = "basic/index", "basic/lifecycle", "basic/transports/streamable-http"
_OLD, _STDIO = "basic/transports", "basic/transports/stdio"
_CANCEL, _PROGRESS = "basic/patterns/cancellation", "basic/patterns/progress"
_APPS = "extensions/apps"
_SUBSCRIPTIONS, _MRTR = "basic/patterns/subscriptions", "basic/patterns/mrtr"

_TABLE = (
    # Messages
    _rule("jsonrpc", "what is sent is a JSON-RPC 2.0 message", f"{_INDEX}/jsonrpc"),
    _rule("utf8", "messages are UTF-8", "basic/transports/index/utf8", f"{_INDEX}/jsonrpc"),
    _rule("stdout-clean", "a server writes nothing but messages", f"{_STDIO}/stdout-clean"),
    _rule("stdin-clean", "a client writes nothing but messages", f"{_STDIO}/stdin-clean"),
    _rule("request-id-type", "an id is a string or an integer", f"{_INDEX}/request-id-type"),
    _rule("request-id-not-null", "an id is never null", f"{_INDEX}/request-id-not-null"),
    _rule(
        "request-id-used",
        "a request has an id of its own",
        f"{_INDEX}/request-id-unique",
        f"{_INDEX}/request-id-fresh",
    ),
    _rule("result-id", "a result is for a request that waits for one", f"{_INDEX}/result-id"),
    _rule("error-id", "an error is for a request that waits for an answer", f"{_INDEX}/error-id"),
    _rule("one-answer", "a request is answered once", f"{_INDEX}/result-id"),
    _rule(
        "notification-unanswered",
        "a notification is never answered",
        f"{_INDEX}/notification-unanswered",
    ),
    _rule(
        "result-xor-error",
        "a response has a result or an error, not both",
        f"{_INDEX}/result-xor-error",
        f"{_INDEX}/result-member",
    ),
    _rule(
        "error-shape",
        "an error has an integer code and a message",
        f"{_INDEX}/error-member",
        f"{_INDEX}/error-code-integer",
    ),
    _rule("error-reserved", "reserved codes are not made up", f"{_INDEX}/reserved-codes"),
    _rule("error-retired", "retired codes are not sent", f"{_INDEX}/retired-codes"),
    _rule("error-legacy", "-32000 to -32019 are not used", f"{_INDEX}/legacy-codes-unused"),
    _rule("error-new", "codes of one's own lie elsewhere", f"{_INDEX}/new-codes"),
    _rule("method-unknown", "an unknown method gets -32601", clause="JSON-RPC 2.0 section 5.1"),
    _rule(
        "batch-revision",
        "batches are sent in the revision that has them",
        f"{_LIFE}/respect-version",
        f"{_LIFE}/respect-version-early",
        f"{_INDEX}/jsonrpc",
    ),
    _rule("batch-kinds", "a batch asks or answers, not both", f"{_OLD}/batch-bodies"),
    # Lifecycle
    _rule("initialize-first", "initialize comes first", f"{_LIFE}/initialize-first"),
    _rule("initialize-before-all", "it is served first", f"{_LIFE}/initialize-before-all"),
    _rule("initialize-answered", "its result is complete", f"{_LIFE}/initialize-answered"),
    _rule("initialized", "notifications/initialized follows it", f"{_LIFE}/initialized"),
    _rule("client-waits", "a client waits for its answer", f"{_LIFE}/client-waits"),
    _rule("server-waits", "a server waits for initialized", f"{_LIFE}/server-waits"),
    _rule("initialize-batched", "it is not in a batch", f"{_LIFE}/initialize-not-batched"),
    _rule(
        "initialize-cancelled",
        "it is not cancelled",
        "basic/utilities/cancellation/initialize-not-cancelled",
    ),
    _rule(
        "method-revision",
        "a method is one of the revision, and of its sender",
        f"{_LIFE}/respect-version",
        f"{_LIFE}/respect-version-early",
        "basic/transports/index/directions",
    ),
    _rule(
        "capability",
        "what was not declared is not used",
        f"{_LIFE}/respect-capabilities",
        f"{_LIFE}/respect-capabilities-early",
    ),
    _rule("logging-declared", "who logs declares it", "server/utilities/logging/declared"),
    _rule("ping-answered", "a ping has an empty result", "basic/utilities/ping/answered"),
    # Shapes
    _rule("params-shape", "params are of the method's type", clause="schema"),
    _rule("result-shape", "a result is of the method's type", clause="schema"),
    # Progress and cancellation
    _rule("token-type", "a token is a string or an integer", f"{_PROGRESS}/token-type"),
    _rule("token-unique", "a token is of one active request", f"{_PROGRESS}/token-unique"),
    _rule("progress-increases", "progress increases", f"{_PROGRESS}/increases"),
    _rule("progress-token", "its token is of a request", f"{_PROGRESS}/active-tokens-only"),
    _rule("progress-stops", "progress ends with the request", f"{_PROGRESS}/stops"),
    _rule("cancel-own", "what is cancelled was asked and runs", f"{_CANCEL}/own-requests-only"),
    _rule("cancelled-silent", "nothing follows for it", f"{_STDIO}/cancelled-silent"),
    _rule("cancelled-answered", "it is not answered", f"{_CANCEL}/no-response"),
    _rule("cancel-listen", "a server cancels listen streams only", f"{_CANCEL}/server-only-listen"),
    # Modern
    _rule("no-server-requests", "a server asks nothing", "basic/patterns/index/no-server-requests"),
    _rule(
        "no-client-responses",
        "a client answers nothing",
        "basic/patterns/index/no-client-responses",
    ),
    _rule("meta-required", "_meta has version and capabilities", f"{_INDEX}/meta-required"),
    _rule("meta-key", "keys of _meta are well formed", f"{_INDEX}/meta-prefix"),
    _rule("client-info", "_meta has clientInfo", f"{_INDEX}/client-info"),
    _rule("server-info", "_meta has serverInfo", f"{_INDEX}/server-info"),
    _rule("trace-context", "trace context is as W3C has it", f"{_INDEX}/trace-context"),
    _rule("result-type", "a result names its type", f"{_INDEX}/result-type"),
    _rule("cache-hints", "it says how long it holds", "server/utilities/caching/hints"),
    _rule("ttl", "ttlMs is not negative", "server/utilities/caching/ttl-not-negative"),
    _rule("subscription-id", "changes name their stream", f"{_INDEX}/subscription-id"),
    _rule("acknowledged-first", "a stream is acknowledged", f"{_SUBSCRIPTIONS}/acknowledged-first"),
    _rule("requested-only", "only what was asked for is told", f"{_SUBSCRIPTIONS}/requested-only"),
    _rule("input-methods", "only some requests need input", f"{_MRTR}/supported-methods"),
    _rule("input-or-state", "input_required has one of both", f"{_MRTR}/one-of-both"),
    _rule("input-kinds", "input is of a known kind", f"{_MRTR}/request-kinds"),
    _rule("input-declared", "input is what the client can give", f"{_MRTR}/declared-only"),
    _rule("state-echoed", "requestState comes back as it was", f"{_MRTR}/echo-state"),
    _rule("log-level", "logs are asked for", "server/utilities/logging/level-needed"),
    # HTTP
    _rule("accept", "a POST accepts JSON and event streams", f"{_HTTP}/accept"),
    _rule("body-single", "a POST has one message", f"{_HTTP}/body-single"),
    _rule("accepted-202", "what needs no answer gets 202", f"{_HTTP}/accepted-202"),
    _rule("json-or-sse", "an answer is JSON or an event stream", f"{_HTTP}/json-or-sse"),
    _rule("response-ends", "the response is the last of its stream", f"{_HTTP}/response-ends"),
    _rule("response-comes", "a stream brings its response", f"{_OLD}/response-comes"),
    _rule("response-place", "a response is on its request's stream", f"{_OLD}/no-broadcast"),
    _rule("no-buffering", "proxies are told not to buffer", f"{_HTTP}/no-buffering"),
    _rule("metadata-headers", "headers mirror the body", f"{_HTTP}/metadata-headers"),
    _rule("headers-match", "what they contradict is refused", f"{_HTTP}/headers-match-body"),
    _rule("value-encoded", "values are encoded", f"{_HTTP}/value-base64", f"{_HTTP}/name-encoded"),
    _rule("param-mirrored", "marked arguments are mirrored", f"{_HTTP}/param-mirrored"),
    _rule("param-null", "what is null is not", f"{_HTTP}/param-null-omitted"),
    _rule("mismatch-status", "-32020 has status 400", f"{_HTTP}/mismatch-error"),
    _rule("version-status", "-32022 has status 400", f"{_HTTP}/version-unsupported"),
    _rule("method-status", "-32601 has status 404", f"{_HTTP}/method-unknown"),
    _rule("capability-status", "-32021 has status 400", f"{_INDEX}/undeclared-capability"),
    _rule("version-header", "the version goes in a header", f"{_OLD}/version-header"),
    _rule("version-agreed", "it is the agreed one", f"{_OLD}/version-header-negotiated"),
    _rule("session-sent", "the session id goes along", f"{_OLD}/session-id-sent"),
    _rule("session-characters", "it is visible ASCII", f"{_OLD}/session-id-characters"),
    _rule("session-lost", "after 404 comes initialize", f"{_OLD}/session-lost"),
    _rule("no-session", "there are no sessions", f"{_HTTP}/old-session-ignored"),
    _rule("get-accept", "a GET accepts event streams", f"{_OLD}/get-stream-accept"),
    _rule("get-answered", "a GET gets a stream or 405", f"{_OLD}/get-stream-or-405"),
    _rule("get-no-response", "it carries no responses", f"{_OLD}/get-stream-no-response"),
    _rule("event-ids", "event ids are unique in a session", f"{_OLD}/event-ids-unique"),
    _rule("primed", "a stream opens with an empty event", f"{_OLD}/prime"),
    _rule("sse-endpoint", "HTTP+SSE names its endpoint first", f"{_OLD}/sse-endpoint-event"),
    # Apps
    _rule(
        "app-tool", "a tool's app is named as hosts read it", clause=f"{_APPS}#resource-discovery"
    ),
    _rule("app-exists", "the app of a tool can be read", clause=f"{_APPS}#behavior"),
    _rule("app-document", "it is HTML with rules", clause=f"{_APPS}#content-requirements"),
    # WebSocket
    _rule("websocket-text", "messages are text frames", clause="docs/how-to/websocket.md"),
)

RULES: dict[str, Rule] = {rule.name: rule for rule in _TABLE}
"""All rules, by name."""
