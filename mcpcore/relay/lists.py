"""Lists of several servers in one: a page of each, a cursor that is a sealed vector of theirs.

Source: the pagination page of the specification; the caching page of 2026-07-28.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct, structs

from mcpcore.engine.bodies import relayable
from mcpcore.engine.events import RequestReceived
from mcpcore.engine.seal import SealBroken, request_binding
from mcpcore.relay.cells import CELLS, result_in
from mcpcore.relay.link import Outcome, Target
from mcpcore.relay.names import IN_PARAMS, NameKind
from mcpcore.spec.capabilities import TASKS_EXTENSION
from mcpcore.spec.errors import INVALID_PARAMS, LocalProtocolError
from mcpcore.spec.json_schema import header_params
from mcpcore.spec.methods import METHODS
from mcpcore.spec.types.capabilities import ServerCapabilities

if TYPE_CHECKING:  # a type alone: it owns this part
    from mcpcore.relay.relay import Relay

LISTS: dict[str, str] = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
"""Members that hold the items, by the method that lists them."""
UNAVAILABLE = "mcpcore/unavailable"
"""Key in the ``_meta`` of a merged page: names of the servers whose items are missing."""
_CAPABILITIES = {row.name: row.capability for row in METHODS if row.name in LISTS}
_LISTED = {
    NameKind.TOOL: ("tools/list",),
    NameKind.PROMPT: ("prompts/list",),
    NameKind.URI: ("resources/list", "resources/templates/list"),
}
_PAGES = 100
"""Maximum pages of one server that are read to find a name."""
_EMPTY = Raw(b"{}")

_members_of = msgspec.json.Decoder(dict[str, Raw]).decode
_read = msgspec.json.Decoder().decode
_decode_cursors = msgspec.msgpack.Decoder(dict[str, str | None]).decode
_encode_cursors = msgspec.msgpack.Encoder().encode


Take = Callable[[Outcome | None], None]
"""Function from the page of a server, None if it has none that can be had."""


class _Asked(Struct):
    cursor: str | None = None


class _Listed(Struct):
    name: str
    input_schema: dict[str, Any] = msgspec.field(name="inputSchema", default_factory=dict)


class _Next(Struct):
    next_cursor: str | None = msgspec.field(name="nextCursor", default=None)


_next_of = msgspec.json.Decoder(_Next).decode
_cursor_of = msgspec.json.Decoder(_Asked).decode
_tools_of = msgspec.json.Decoder(list[_Listed]).decode


class MergedPage(Struct, eq=False):
    """Page of a merged list in the making."""

    event: RequestReceived
    left: set[str]
    """Servers that have yet to answer."""
    parts: dict[str, Raw] = {}
    missing: list[str] = []


class _Search(Struct, eq=False):
    """Reading of all lists that may have a name."""

    event: RequestReceived
    then: Callable[[], None]
    left: int
    """Lists that have yet to be read to their end."""


class Lists:
    """Part of a relay that merges lists."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay

    def ask(self, event: RequestReceived) -> None:
        """Answer a request for a list, once every server has given its page or is late.

        Raises msgspec.MsgspecError for params without the right types.
        """
        cursor, cursors = _cursor_of(event.params).cursor, dict[str, str | None]()
        if cursor is not None:
            binding = request_binding(event.principal, event.method, _EMPTY)
            try:
                cursors = _decode_cursors(
                    self._relay.seal.open(cursor, binding, wall=self._relay.wall)
                )
            except SealBroken:
                self._relay.refuse(event.key, INVALID_PARAMS, "cursor: not a cursor of this list")
                return
        names = cursors if cursor is not None else self._relay.targets
        page = MergedPage(event, set(names))
        for name in list(names):
            take = partial(self._take, page, name)
            self._fetch(name, event, event.method, cursors.get(name), take)

    def _fetch(
        self, name: str, event: RequestReceived, method: str, cursor: str | None, take: Take
    ) -> None:
        """Ask a server for a page; ``take`` gets None if it cannot be asked."""
        target = self._relay.targets.get(name)
        if target is None:
            take(None)
        else:
            work = partial(self._send, target, event, method, cursor, take)
            self._relay.when_known(target, work)

    def _send(
        self, target: Target, event: RequestReceived, method: str, cursor: str | None, take: Take
    ) -> None:
        relay = self._relay
        if target.greeting is None:
            take(None)
            return
        if not target.offers(_CAPABILITIES[method]):
            take(_EMPTY)
            return
        try:
            link = relay.link(target, relay.audience_of(event))
        except LocalProtocolError:
            take(None)
            return
        by_request = link.cell(event.revision.modern).by_request
        declared = event.client_capabilities if by_request else None
        params, meta = None if cursor is None else {"cursor": cursor}, relayable(event.params)[1]
        relay.ask(link, method, params, take, meta=meta, capabilities=declared)

    def _take(self, page: MergedPage, name: str, outcome: Outcome | None) -> None:
        """Take the page of one server; the last one completes the merged page."""
        if isinstance(outcome, Raw):
            page.parts[name] = outcome
        else:
            page.missing.append(name)
        page.left.discard(name)
        if not page.left:
            self._complete(page)

    def _complete(self, page: MergedPage) -> None:
        relay, event, method = self._relay, page.event, page.event.method
        member, items = LISTS[method], list[bytes]()
        cursors: dict[str, str | None] = {}
        ttls, public = list[int](), not page.missing
        for name, target in relay.targets.items():
            if name not in page.parts:
                continue
            try:
                part = self.learned(target, method, page.parts[name], event.revision.modern)
                members = _members_of(part)
                items.append(bytes(members.get(member, Raw(b"[]"))).strip()[1:-1].strip())
                ttl, scope = members.get("ttlMs"), members.get("cacheScope")
                if ttl is not None:
                    ttls.append(int(_read(ttl)))
                public &= scope is None or _read(scope) == "public"
                cursor = _read(members.get("nextCursor", Raw(b"null")))
            except (msgspec.MsgspecError, ValueError, TypeError):
                page.missing.append(name)
                continue
            if isinstance(cursor, str):
                cursors[name] = cursor
        body = b'{"%b":[%b]' % (member.encode(), b",".join(filter(None, items)))
        if cursors:
            binding = request_binding(event.principal, method, _EMPTY)
            sealed = relay.seal.seal(_encode_cursors(cursors), binding, wall=relay.wall)
            body += b',"nextCursor":' + msgspec.json.encode(sealed)
        if event.revision.cache_hints:
            known = not page.missing and ttls
            hints = (min(ttls) if known else 0, b"public" if public and known else b"private")
            body += b',"ttlMs":%d,"cacheScope":"%b"' % hints
        meta = {UNAVAILABLE: sorted(page.missing)} if page.missing else None
        relay.downstream.respond(event.key, Raw(body + b"}"), meta=meta)

    def learned(self, target: Target, method: str, result: Raw, modern: bool) -> Raw:
        """Return a server's page as clients see it.  Raises msgspec.MsgspecError."""
        result = result_in(CELLS[modern, target.modern], method, result)
        self.note_headers(target, method, result)
        return self._relay.names.outward_in(method, target.name, result)

    def note_headers(self, target: Target, method: str, result: Raw) -> None:
        """Note the arguments that headers mirror.  Raises msgspec.MsgspecError."""
        if method != "tools/list" or b"x-mcp-header" not in bytes(result):
            return
        for tool in _tools_of(_members_of(result).get("tools", Raw(b"[]"))):
            params = header_params(tool.input_schema)
            outer = self._relay.names.outward(NameKind.TOOL, target.name, tool.name)
            if params and outer is not None:
                target.header_params[tool.name] = self._relay.header_params[outer] = params

    def learn(self, event: RequestReceived, then: Callable[[], None]) -> bool:
        """Read the lists that may have the name in a request, then go on; False if none helps."""
        if not self._relay.names.listed:
            return False
        methods = [each for _, kind in IN_PARAMS[event.method] for each in _LISTED[kind]]
        search = _Search(event, then, len(methods) * len(self._relay.targets))
        for name in self._relay.targets:
            for method in methods:
                take = partial(self._searched, search, name, method, 1)
                self._fetch(name, event, method, None, take)
        return True

    def _searched(
        self, search: _Search, name: str, method: str, pages: int, outcome: Outcome | None
    ) -> None:
        event = search.event
        if isinstance(outcome, Raw):
            try:
                self.learned(self._relay.targets[name], method, outcome, event.revision.modern)
                cursor = _next_of(outcome).next_cursor
            except msgspec.MsgspecError:
                cursor = None
            if cursor is not None and pages < _PAGES:
                take = partial(self._searched, search, name, method, pages + 1)
                self._fetch(name, event, method, cursor, take)
                return
        search.left -= 1
        if not search.left:
            search.then()


def merged_capabilities(targets: Iterable[Target]) -> ServerCapabilities:
    """Return what any of the servers declares.

    Tasks are declared for a single server alone: elsewhere nothing tells whose a task is.
    """
    declared = [
        target.greeting.capabilities
        for target in targets
        if target.greeting is not None
        and isinstance(target.greeting.capabilities, ServerCapabilities)
    ]
    if len(declared) == 1:
        return declared[0]
    merged = ServerCapabilities()
    for each in declared:
        for name in ("tools", "prompts", "resources"):
            ours, theirs = getattr(merged, name), getattr(each, name)
            if ours is None or theirs is None:
                setattr(merged, name, theirs if ours is None else ours)
                continue
            flags = {
                flag: getattr(ours, flag) or getattr(theirs, flag)
                for flag in ours.__struct_fields__
            }
            setattr(merged, name, structs.replace(ours, **flags))
        for name in ("logging", "completions"):
            if getattr(merged, name) is None:
                setattr(merged, name, getattr(each, name))
        for name in ("experimental", "extensions"):
            both = {**(getattr(merged, name) or {}), **(getattr(each, name) or {})}
            both.pop(TASKS_EXTENSION, None)
            setattr(merged, name, both or None)
    return merged
