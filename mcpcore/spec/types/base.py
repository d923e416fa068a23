"""What every message shares: ``_meta``, identity, icons, annotations, common params and results.

Every type of the protocol is one Struct, the superset of all revisions: a member that some
revision lacks, or does not require, is optional and absent as ``UNSET``.  Unknown members are
ignored.  Source: the base protocol page and ``schema.ts`` of each revision.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

META_PREFIX = "io.modelcontextprotocol/"
"""The prefix of the ``_meta`` keys that the specification itself defines."""
META_PROTOCOL_VERSION = META_PREFIX + "protocolVersion"
META_CLIENT_INFO = META_PREFIX + "clientInfo"
META_CLIENT_CAPABILITIES = META_PREFIX + "clientCapabilities"
META_LOG_LEVEL = META_PREFIX + "logLevel"
META_SUBSCRIPTION_ID = META_PREFIX + "subscriptionId"
META_SERVER_INFO = META_PREFIX + "serverInfo"
META_RELATED_TASK = META_PREFIX + "related-task"
META_PROGRESS_TOKEN = "progressToken"  # noqa: S105 - the name of a member, not a secret

RequestId = str | int
"""A JSON-RPC id; the same type as in :mod:`mcpcore.wire.message`."""
ProgressToken = str | int
Cursor = str
Meta = dict[str, Any]
"""A ``_meta`` object kept whole, unknown keys included."""
Role = Literal["user", "assistant"]
LoggingLevel = Literal[
    "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"
]


class Icon(Struct, omit_defaults=True, kw_only=True, rename="camel"):
    """An image that stands for something; ``src`` is an https or data URI."""

    src: str
    mime_type: str | UnsetType = UNSET
    sizes: list[str] | UnsetType = UNSET
    theme: Literal["light", "dark"] | UnsetType = UNSET


class Annotations(Struct, omit_defaults=True, kw_only=True, rename="camel"):
    """Hints on whom something is for and how much it matters (``priority`` from 0 to 1)."""

    audience: list[Role] | UnsetType = UNSET
    priority: float | UnsetType = UNSET
    last_modified: str | UnsetType = UNSET


class Implementation(Struct, omit_defaults=True, kw_only=True, rename="camel"):
    """The self-reported identity of a client or a server; it decides nothing."""

    name: str
    version: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    website_url: str | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET
