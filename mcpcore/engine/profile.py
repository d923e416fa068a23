"""Facts derived from a role and a Config alone, shared by all Peers that have them.

An endpoint with ten thousand sessions has ten thousand Peers and one or two of these.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from mcpcore.engine.config import ASKABLE, Config, Role
from mcpcore.engine.subscriptions import TOPICS
from mcpcore.spec.capabilities import Capabilities, declares, in_revision
from mcpcore.spec.methods import METHODS, Method, MethodKind, lookup
from mcpcore.spec.revisions import REVISIONS, Revision, legacy_of, modern_of
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_PROTOCOL_VERSION,
    META_SERVER_INFO,
)
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.wire.message import decode

Rows = tuple[dict[str, Method], ...]
"""Methods that one side may send, by the position of the revision, then by method."""
Terms = Revision | str | None
"""Basis for reading a request: the revision agreed on, or the version that the request names."""


def _sent_by(role: Role) -> Rows:
    return tuple(
        {
            method.name: row
            for method in METHODS
            if (row := lookup(method.name, role.value, revision)) is not None
        }
        for revision in REVISIONS
    )


_PATHS = frozenset(method.capability for method in METHODS if method.capability is not None)
ROWS: dict[Role, Rows] = {role: _sent_by(role) for role in Role}


class Profile:
    """Derived facts of one Config in one role.

    Raises TypeError or ValueError for a Config that makes no sense in this role.
    """

    def __init__(self, role: Role, config: Config) -> None:
        capabilities: Capabilities
        if role is Role.CLIENT:
            capabilities = config.declared(ClientCapabilities)
        else:
            capabilities = config.declared(ServerCapabilities)
        if not config.revisions:
            raise ValueError("no revision is left to speak")
        if strange := config.asked_first - ASKABLE:
            raise ValueError(f"the engine does not ask its application about {min(strange)}")
        for icon in config.info.icons or ():
            if not icon.is_safe:
                raise ValueError(f"icon {icon.src[:80]!r}: expected an https: or data:image/ URI")
        self.role = role
        self.config = config
        limits = config.limits
        self.decode = partial(decode, max_depth=limits.depth, max_batch=limits.batch)
        """Decodes one JSON text within the limits."""
        self.modern = modern_of(config.revisions)
        self.legacy = legacy_of(config.revisions)
        self.by_name = {revision.name: revision for revision in self.modern}
        """Revisions that are served statelessly, by name."""
        self.ours = ROWS[role]
        self.theirs = ROWS[role.other]
        self.server_meta: dict[str, Any] = {META_SERVER_INFO: config.info}
        ours = b'"resultType":"complete","_meta":' + msgspec.json.encode(self.server_meta)
        self.complete = {row: ours if row.result_type else b"" for row in REVISIONS}
        """Encoded members of every complete result of this side, by revision."""
        self.offered = frozenset(path for path in _PATHS if declares(capabilities, path))
        """Declared capabilities that methods need, as dotted paths."""
        self.usual = dict(self._usual()) if role is Role.SERVER else {}
        """Rows of the requests that a server admits by version and method alone.  For legacy
        requests the key holds the negotiated revision instead of the version."""
        self.announced = {
            method: topic.capability is None or topic.capability in self.offered
            for method, topic in TOPICS.items()
        }
        """True if this side declared that it announces such changes, by notification method."""
        self._client_meta: dict[str, bytes] = {}

    def _usual(self) -> Iterator[tuple[tuple[Terms, str], Method]]:
        for revision in (*self.modern, *self.legacy):
            for row in self.theirs[revision.position].values():
                declared = row.capability is None or row.capability in self.offered
                if row.kind is MethodKind.REQUEST and declared and row.peer_capability is None:
                    if revision.modern:
                        yield (revision.name, row.name), row
                    elif row.name != "initialize":  # it has a rung of its own
                        yield (revision, row.name), row

    def client_meta(self, revision: Revision) -> bytes:
        """Return the ``_meta`` member of every outbound request in a modern ``revision``."""
        meta = self._client_meta.get(revision.name)
        if meta is None:
            members: dict[str, Any] = {
                META_PROTOCOL_VERSION: revision.name,
                META_CLIENT_INFO: self.config.info,
                META_CLIENT_CAPABILITIES: in_revision(self.config.capabilities, revision),
            }
            meta = b'"_meta":' + msgspec.json.encode(members)
            self._client_meta[revision.name] = meta
        return meta
