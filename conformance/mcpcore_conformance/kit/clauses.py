"""Places of clauses in each revision: pages were renamed and cut up, sections too.

A case names the place that its clause has in the newest revision, or the newest that has it.  What
stands elsewhere in an older one is looked up here, so that a finding in 2025-06-18 is not shown on
a page of 2026-07-28.
"""

from collections.abc import Mapping

from msgspec import Struct, field

from mcpcore.spec.revisions import BY_NAME, Revision, Span


class Place(Struct, frozen=True):
    """The page that stands for another one in some revisions."""

    revisions: Span
    page: str
    sections: Mapping[str, str] = field(default_factory=dict)
    """Sections that have another name there, with their page if it is another one; "": none, the
    page as a whole."""


def _span(first: str, last: str) -> Span:
    return Span(BY_NAME[first], BY_NAME[last])


_HANDSHAKE = _span("2024-11-05", "2025-11-25")
_RESPONSES = {
    "error-codes": "responses",
    "error-responses": "responses",
    "result-responses": "responses",
}
_DISCOVERY = "basic/authorization/authorization-server-discovery"
_DISCOVERED = (
    "authorization-server-location",
    "protected-resource-metadata-discovery-requirements",
)
_STREAMABLE = {
    "case-sensitivity": "streamable-http",
    "httpsse-transport-2024-11-05": "backwards-compatibility",
    "receiving-messages": "sending-messages-to-the-server",
    "security-endpoint": "security-warning",
    "sending-messages": "sending-messages-to-the-server",
}
_LINES = {
    "basic-transports-stdio": "stdio",
    "shutdown": "basic/lifecycle#shutdown",
    "unexpected-termination": "basic/lifecycle#shutdown",
}

_2025_06_18 = _span("2025-06-18", "2025-06-18")
_2025_11_25 = _span("2025-11-25", "2025-11-25")
_REGISTRATION = {
    "advertising-cimd-support": "discovery",
    "pre-registration": "preregistration",
}

PLACES: Mapping[str, tuple[Place, ...]] = {
    "basic/authorization": (
        Place(
            _span("2025-06-18", "2025-06-18"),
            "basic/authorization",
            {"protected-resource-metadata-discovery-requirements": "authorization-server-location"},
        ),
        Place(
            _span("2026-07-28", "2026-07-28"),
            "basic/authorization",
            {section: f"{_DISCOVERY}#{section}" for section in _DISCOVERED},
        ),
    ),
    "basic/authorization/index": (Place(_HANDSHAKE, "basic/authorization"),),
    _DISCOVERY: (
        Place(
            _2025_06_18,
            "basic/authorization",
            {
                "authorization-server-metadata-discovery": "server-metadata-discovery",
                "protected-resource-metadata-discovery-requirements": (
                    "authorization-server-location"
                ),
            },
        ),
        Place(_2025_11_25, "basic/authorization"),
    ),
    "basic/authorization/client-registration": (
        Place(_2025_11_25, "basic/authorization", _REGISTRATION),
    ),
    "basic/authorization/security-considerations": (
        Place(
            _span("2025-03-26", "2025-03-26"),
            "basic/authorization",
            {
                "authorization-code-protection": "implementation-requirements",
                "communication-security": "security-considerations",
            },
        ),
        Place(_span("2025-06-18", "2025-11-25"), "basic/authorization"),
    ),
    "basic/index": (
        Place(
            _span("2024-11-05", "2024-11-05"),
            "basic/messages",
            _RESPONSES | {"general-fields": "", "messages": "", "meta": "", "_meta": ""},
        ),
        Place(
            _span("2025-03-26", "2025-03-26"),
            "basic/index",
            _RESPONSES | {"general-fields": "", "meta": ""},
        ),
        Place(
            _span("2025-06-18", "2025-06-18"), "basic/index", _RESPONSES | {"ref-resolution": ""}
        ),
        Place(
            _span("2025-11-25", "2025-11-25"),
            "basic/index",
            {"error-codes": "error-responses", "ref-resolution": "json-schema-usage"},
        ),
        Place(_span("2026-07-28", "2026-07-28"), "basic/index", {"_meta": "meta"}),
    ),
    "basic/lifecycle": (
        Place(_span("2024-11-05", "2024-11-05"), "basic/lifecycle", {"timeouts": ""}),
    ),
    "basic/patterns/cancellation": (
        Place(_HANDSHAKE, "basic/utilities/cancellation", {"timeouts": "basic/lifecycle#timeouts"}),
    ),
    "basic/patterns/progress": (Place(_HANDSHAKE, "basic/utilities/progress"),),
    "basic/transports": (
        Place(
            _span("2024-11-05", "2024-11-05"),
            "basic/transports",
            {"listening-for-messages-from-the-server": "http-with-sse"},
        ),
    ),
    "basic/transports/index": (Place(_HANDSHAKE, "basic/transports", {"messages": ""}),),
    "basic/transports/stdio": (
        Place(_HANDSHAKE, "basic/transports", _LINES),
        Place(
            _span("2026-07-28", "2026-07-28"),
            "basic/transports/stdio",
            {"basic-transports-stdio": "", "stdio": ""},
        ),
    ),
    "basic/transports/streamable-http": (Place(_HANDSHAKE, "basic/transports", _STREAMABLE),),
    "basic/versioning": (Place(_HANDSHAKE, "basic/lifecycle"),),
    "client/elicitation": (
        Place(
            _span("2025-06-18", "2025-06-18"),
            "client/elicitation",
            {
                "elicitation-requests": "creating-elicitation-requests",
                "error-handling": "response-actions",
                "form-mode-elicitation-requests": "creating-elicitation-requests",
                "form-mode-security": "security-considerations",
                "requested-schema": "request-schema",
            },
        ),
    ),
    "server/tools": (
        Place(_span("2024-11-05", "2025-06-18"), "server/tools", {"tool-names": "tool"}),
    ),
}


def clause_in(page: str, section: str, revision: Revision) -> str:
    """Return revision, page and section of a clause, as its revision has them."""
    for place in PLACES.get(page, ()):
        if revision in place.revisions:
            page, section = place.page, place.sections.get(section, section)
            break
    if "#" in section:
        page, _, section = section.partition("#")
    return f"{revision.name}/{page}" + (f"#{section}" if section else "")
