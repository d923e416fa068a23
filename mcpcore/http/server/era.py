"""Era of a request body (2026-07-28, versioning page, "Backward Compatibility").

The engine has the rule itself (:func:`mcpcore.engine.negotiation.is_modern`). This module applies
it before a Peer has been chosen, at next to no cost.
"""

from collections.abc import Iterable

import msgspec
from msgspec import UNSET

from mcpcore.engine.metadata import read_skim
from mcpcore.engine.negotiation import is_modern
from mcpcore.spec.revisions import LATEST_LEGACY, Revision, newest
from mcpcore.spec.types.base import RequestMeta
from mcpcore.wire.message import Frame, Kind, Message

LISTEN = "subscriptions/listen"


def is_modern_body(frame: Frame, body: bytes) -> bool:
    """Return True if a body is modern whose version header names no modern revision.

    A body without a method (responses, batches, invalid messages) is judged by the header alone.
    """
    if not isinstance(frame, Message) or frame.method is UNSET:
        return False
    return is_modern(_meta_of(frame, body), None, frame.method)


def _meta_of(message: Message, body: bytes) -> RequestMeta | None:
    """Return the ``_meta`` of a message if it may name its version or capabilities, else None.

    Malformed metadata gives None, too.  A search of the bytes saves the decoding of nearly all
    legacy messages; escapes could hide the names.
    """
    telling = b"protocolVersion" in body or b"clientCapabilities" in body or b"\\u" in body
    if message.params is UNSET or not telling:
        return None
    try:
        return read_skim(message.params, lambda meta: True).meta
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def opens_session(frame: Frame) -> bool:
    """Return True if a legacy body is the request that opens a session."""
    return (
        isinstance(frame, Message) and frame.kind is Kind.REQUEST and frame.method == "initialize"
    )


def is_handshake(frame: Frame) -> bool:
    """Return True if a body only completes the handshake."""
    return isinstance(frame, Message) and frame.method == "notifications/initialized"


def without_header(served: Iterable[Revision]) -> Revision:
    """Return the revision of a request that names none and belongs to no session.

    Since 2025-06-18 ("Protocol Version Header") that is the newest one without such a header.
    """
    legacy = tuple(served)
    nameless = newest(revision for revision in legacy if not revision.version_header)
    return nameless or newest(legacy) or LATEST_LEGACY
