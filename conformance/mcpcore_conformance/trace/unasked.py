"""A client of the modern era that begins without server/discover, as it may.

The core always asks.  What it asks is answered for the server then: that it speaks the revision of
the trace, and offers everything.
"""

import msgspec

from mcpcore.spec.types.base import META_SERVER_INFO
from mcpcore.trace.format import TO_SERVER
from mcpcore.wire.message import RequestId
from mcpcore_conformance.trace.book import named_revision
from mcpcore_conformance.trace.dialogue import Said

DISCOVER = "server/discover"
OFFERS = {
    "tools": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "prompts": {"listChanged": True},
    "completions": {},
    "logging": {},
}
"""What a server offers of which the trace does not say it."""


def begins_without(messages: list[Said]) -> str:
    """The revision of a client whose first message is another modern request; else empty."""
    first = next((each for each in messages if each.direction == TO_SERVER), None)
    revision = None if first is None else named_revision(first)
    if first is None or revision is None or not revision.modern or first.method == DISCOVER:
        return ""
    return revision.name


def answer(request: RequestId, revision: str) -> bytes:
    """What the server of the trace would have said."""
    result = {
        "resultType": "complete",
        "supportedVersions": [revision],
        "capabilities": OFFERS,
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {META_SERVER_INFO: {"name": "not asked", "version": "1"}},
    }
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request, "result": result})
