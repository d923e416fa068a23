"""Error codes as a table, the error object, and the exceptions on which others are built.

Codes: the base protocol page of each revision, JSON-RPC 2.0 section 5.1.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from mcpcore.spec.revisions import BY_NAME, LEGACY, MODERN, REVISIONS, Revision
from mcpcore.spec.types.model import Maybe
from mcpcore.wire.jsontext import sayable

if TYPE_CHECKING:  # a type alone: it raises the exception here
    from mcpcore.spec.types.tools import CallToolResult

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
RESOURCE_NOT_FOUND = -32002
URL_ELICITATION_REQUIRED = -32042
HEADER_MISMATCH = -32020
MISSING_CLIENT_CAPABILITY = -32021
UNSUPPORTED_PROTOCOL_VERSION = -32022
LEGACY_BUSY = -32000
LEGACY_TIMED_OUT = -32001
LEGACY_TOO_LARGE = -32003
"""Codes of this project, LEGACY_BUSY to here, in the legacy revisions, which leave -32000 to
-32099 to implementations; see :data:`BUSY` to :data:`TIMED_OUT`."""
BUSY = 1001
"""Code of this project, outside the reserved range: too many requests in flight; try again."""
TOO_LARGE = 1002
"""Code of this project: the message is larger than this side accepts."""
TIMED_OUT = 1003
"""Code of this project: the work took longer than this side allows."""
FORBIDDEN = 1004
"""Code of this project, in all revisions: scopes or a role are missing; ``data`` names the scopes
in ``scope``."""

RESERVED = range(-32099, -32019)
"""Codes that only the specification assigns since 2026-07-28 ("Error Codes")."""


class ErrorData(Struct, frozen=True, omit_defaults=True):
    """Error object: the ``error`` member of a response (JSON-RPC 2.0 section 5.1)."""

    code: int
    message: str
    data: Maybe[Raw] = None

    @classmethod
    def make(cls, code: int, message: str, data: Any = None) -> "ErrorData":
        """Build one from plain values; ``data`` is anything msgspec can encode, None: absent.

        Characters of ``message`` without a JSON form are replaced, as it may quote anything.
        """
        message = sayable(message)
        if data is None or isinstance(data, Raw):
            return cls(code, message, data)
        return cls(code, message, Raw(msgspec.json.encode(data)))


class ErrorRow(Struct, frozen=True):
    """Row of the specification (or, for positive codes, of this project) on one code."""

    code: int
    name: str
    revisions: tuple[Revision, ...] = REVISIONS
    status: int = 200
    """HTTP status in the modern era when the engine itself rejects the request."""
    retryable: bool = False
    """True if the same request may succeed later, or after the correction that the error names."""
    needs_correction: bool = False
    """True if a retryable request fails again without that correction."""
    status_always: bool = False
    """True if the status holds also when a handler answered with this code."""
    proves_modern: bool = False
    """True if only a modern server sends it: never a reason to fall back to ``initialize``."""


def _modern(code: int, name: str, *, retryable: bool) -> ErrorRow:
    """Make the row of a code with which only a modern server refuses a request."""
    return ErrorRow(
        code, name, MODERN, 400, retryable, retryable, status_always=True, proves_modern=True
    )


_ROWS = (
    ErrorRow(PARSE_ERROR, "ParseError", status=400),
    ErrorRow(INVALID_REQUEST, "InvalidRequest", status=400),
    ErrorRow(METHOD_NOT_FOUND, "MethodNotFound", status=404),
    ErrorRow(INVALID_PARAMS, "InvalidParams", status=400),
    ErrorRow(INTERNAL_ERROR, "InternalError", status=500),
    ErrorRow(RESOURCE_NOT_FOUND, "ResourceNotFound", LEGACY),
    ErrorRow(URL_ELICITATION_REQUIRED, "UrlElicitationRequired", (BY_NAME["2025-11-25"],)),
    _modern(HEADER_MISMATCH, "HeaderMismatch", retryable=True),
    _modern(MISSING_CLIENT_CAPABILITY, "MissingRequiredClientCapability", retryable=False),
    _modern(UNSUPPORTED_PROTOCOL_VERSION, "UnsupportedProtocolVersion", retryable=True),
    ErrorRow(LEGACY_BUSY, "Busy", LEGACY, status=503, retryable=True),
    ErrorRow(LEGACY_TIMED_OUT, "TimedOut", LEGACY, status=408, retryable=True),
    ErrorRow(LEGACY_TOO_LARGE, "TooLarge", LEGACY, status=413),
    ErrorRow(BUSY, "Busy", MODERN, status=503, retryable=True),
    ErrorRow(TOO_LARGE, "TooLarge", MODERN, status=413),
    ErrorRow(TIMED_OUT, "TimedOut", MODERN, status=408, retryable=True),
    ErrorRow(FORBIDDEN, "Forbidden", status=403, status_always=True),
)
ERRORS: dict[int, ErrorRow] = {row.code: row for row in _ROWS}
"""Rows by code."""


def busy_code(revision: Revision | None) -> int:
    """Return the code for "too many requests in flight"; None stands for the legacy era."""
    return BUSY if revision is not None and revision.modern else LEGACY_BUSY


class McpError(Exception):
    """Protocol error: raised by a handler to answer with it, or received from the other side.

    ``error`` holds code, message and data as they travel.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = ErrorData.make(code, message, data)

    @classmethod
    def of(cls, error: ErrorData) -> "McpError":
        """Wrap an error object as it was received."""
        return cls(error.code, error.message, error.data)

    @property
    def code(self) -> int:
        """Integer code of the error."""
        return self.error.code

    def __str__(self) -> str:
        return f"{self.error.message} ({self.error.code})"


class Forbidden(McpError):
    """Refusal of a request whose sender lacks scopes or a role; handlers may raise it.

    ``scopes``: all that the operation needs.  ``role``: True if a role is missing, so that no scope
    helps and none is named.  Over HTTP it is a 403 with a challenge that names the scopes.

    It is raised before all effects: a client may get these scopes and send its request again.
    """

    def __init__(self, scopes: Iterable[str] = (), *, role: bool = False) -> None:
        self.scopes = frozenset() if role else frozenset(scopes)
        self.role = role
        text = "forbidden: a role is missing" if role else "forbidden: scopes are missing"
        names = sorted(self.scopes)
        if names:
            text += f"; it needs the scopes {' '.join(names)}"
        super().__init__(FORBIDDEN, text, {"scope": names})


class ToolFailed(Exception):
    """Failure of a tool, reported in the ``result`` of its call; the message is its text."""

    def __init__(self, result: "CallToolResult") -> None:
        super().__init__(result.text or "the tool failed and did not say why")
        self.result = result


class LocalError(Exception):
    """Base of errors that happen on this side and are never sent."""


class LocalProtocolError(LocalError):
    """Call of the application that the protocol forbids; nothing has changed."""


class CapabilityMissing(LocalProtocolError):
    """Call that needs a capability which the other side did not declare.

    ``capability`` is its dotted path, for instance ``elicitation.url``.
    """

    def __init__(self, capability: str, message: str | None = None) -> None:
        super().__init__(message or f"the other side did not declare the capability {capability!r}")
        self.capability = capability
