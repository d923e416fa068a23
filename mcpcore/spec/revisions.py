"""Revisions of the protocol: five rows of named flags.

Everything that differs between revisions and is not a method, a type or an error code is a flag
here; code asks ``revision.batches``, never which revision it is.  Source: the changelog and the
lifecycle, transports and versioning pages of each revision of the specification.
"""

from collections.abc import Iterable

from msgspec import Struct


class Revision(Struct, frozen=True, eq=False):
    """Protocol revision: its wire name and its features.

    Rows are singletons: they compare and hash by identity, copies and pickles give the row itself.
    Compare them only to ask if two messages speak the same revision.
    """

    name: str
    """Wire name, for instance ``2025-11-25``."""
    position: int
    """Position in time, from 0; used by the tables of this package only."""
    modern: bool = False
    """True if stateless: ``_meta`` of every request carries version, identity and capabilities."""
    handshake: bool = True
    """True if a conversation opens with ``initialize`` and ``notifications/initialized``."""
    batches: bool = False
    """True if JSON-RPC batches are received (and answered with arrays)."""
    streamable_http: bool = True
    """True if it defines Streamable HTTP (2024-11-05 defines HTTP+SSE)."""
    sessions: bool = True
    """HTTP: True if it has ``Mcp-Session-Id`` and DELETE."""
    get_stream: bool = True
    """HTTP: True if a standalone GET stream carries messages that belong to no request."""
    resumable: bool = True
    """HTTP: True if it has event ids and ``Last-Event-ID``."""
    priming: bool = False
    """HTTP: True if streams open with an empty event that has an id.  The server may close them and
    be polled."""
    version_header: bool = False
    """HTTP: True if ``MCP-Protocol-Version`` is on every request after the first."""
    mirror_headers: bool = False
    """HTTP: True if ``Mcp-Method``, ``Mcp-Name`` and ``Mcp-Param-*`` mirror the body."""
    server_requests: bool = True
    """True if the server sends requests (sampling, elicitation, roots) on the wire."""
    input_rounds: bool = False
    """True if the server asks by ``resultType: input_required`` and the client retries with
    answers."""
    result_type: bool = False
    """True if results carry ``resultType``, and the server's identity in ``_meta``."""
    cache_hints: bool = False
    """True if cacheable results carry ``ttlMs`` and ``cacheScope``."""
    per_request_log_level: bool = False
    """True if log messages go only to requests whose ``_meta`` names a level."""
    tool_errors_in_result: bool = False
    """True if arguments that break a tool's schema give a result with ``isError``, not an error."""
    structured_content: bool = False
    """True if tools have output schemas and structured content (as an object)."""
    any_structured_content: bool = False
    """True if structured content may be any JSON value."""
    audio_content: bool = True
    """True if content blocks may be audio."""
    resource_links: bool = True
    """True if content blocks may be links to resources."""
    sampling_tools: bool = False
    """True if sampling has tools, and messages of several blocks."""
    rich_forms: bool = False
    """True if forms have defaults in all fields, choices with titles, and multiple choices."""
    disconnect_cancels: bool = False
    """HTTP: True if the end of the response stream cancels the request."""
    resource_not_found: int = -32002
    """Error code for a resource that does not exist."""

    def __repr__(self) -> str:
        return f"<Revision {self.name}>"

    def __copy__(self) -> "Revision":
        return self

    def __deepcopy__(self, memo: object) -> "Revision":
        return self

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _by_name, (self.name,)


class Span(Struct, frozen=True):
    """Consecutive revisions, both ends included."""

    first: Revision
    last: Revision

    def __contains__(self, revision: Revision) -> bool:
        return self.first.position <= revision.position <= self.last.position


def _by_name(name: str) -> Revision:
    return BY_NAME[name]


REVISIONS: tuple[Revision, ...] = (
    Revision("2024-11-05", 0, streamable_http=False, audio_content=False, resource_links=False),
    Revision("2025-03-26", 1, batches=True, resource_links=False),
    Revision("2025-06-18", 2, version_header=True, structured_content=True),
    Revision(
        "2025-11-25",
        3,
        version_header=True,
        structured_content=True,
        priming=True,
        tool_errors_in_result=True,
        sampling_tools=True,
        rich_forms=True,
    ),
    Revision(
        "2026-07-28",
        4,
        modern=True,
        handshake=False,
        sessions=False,
        get_stream=False,
        resumable=False,
        version_header=True,
        mirror_headers=True,
        server_requests=False,
        input_rounds=True,
        result_type=True,
        cache_hints=True,
        per_request_log_level=True,
        tool_errors_in_result=True,
        structured_content=True,
        any_structured_content=True,
        sampling_tools=True,
        rich_forms=True,
        disconnect_cancels=True,
        resource_not_found=-32602,
    ),
)
"""All revisions, oldest first."""

BY_NAME: dict[str, Revision] = {revision.name: revision for revision in REVISIONS}
"""Rows by wire name."""

LEGACY: tuple[Revision, ...] = tuple(r for r in REVISIONS if r.handshake)
MODERN: tuple[Revision, ...] = tuple(r for r in REVISIONS if r.modern)
LATEST: Revision = REVISIONS[-1]
LATEST_LEGACY: Revision = LEGACY[-1]


def legacy_of(revisions: Iterable[Revision]) -> tuple[Revision, ...]:
    """Return the revisions that open with a handshake."""
    return tuple(revision for revision in revisions if revision.handshake)


def modern_of(revisions: Iterable[Revision]) -> tuple[Revision, ...]:
    """Return the revisions that are stateless."""
    return tuple(revision for revision in revisions if revision.modern)


def newest(candidates: Iterable[Revision]) -> Revision | None:
    """Return the newest of ``candidates``, or None if there are none."""
    return max(candidates, key=lambda revision: revision.position, default=None)


def select(names: Iterable[str], supported: Iterable[Revision]) -> Revision | None:
    """Return the newest revision of ``supported`` whose name is among ``names``, or None."""
    wanted = set(names)
    return newest(revision for revision in supported if revision.name in wanted)


def parse_revisions(names: Iterable[str]) -> tuple[Revision, ...]:
    """Turn wire names into rows, in the order given.

    Raises ValueError naming the first unknown one and what is known, and for a string in place of
    several.
    """
    if isinstance(names, str):
        raise ValueError(f"several revisions are wanted, not the string {names!r}")
    rows = []
    for name in names:
        row = BY_NAME.get(name)
        if row is None:
            known = ", ".join(BY_NAME)
            raise ValueError(f"unknown protocol revision {name!r}; known revisions: {known}")
        rows.append(row)
    return tuple(rows)
