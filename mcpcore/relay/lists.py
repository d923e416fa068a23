"""Lists of several servers in one: a page of each, a cursor that is a sealed vector of theirs.

A page of a server is kept for the time that its caching hints allow, until the server announces a
change, and while the server is away.  It serves requests with the same ``_meta``, of clients with
the same capabilities.  What is not public serves the clients of one principal, and with a legacy
server those of one session.

Source: the pagination page of the specification; the caching page of 2026-07-28.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial, reduce
from itertools import product
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct, structs

from mcpcore.engine.bodies import relayable, relayed
from mcpcore.engine.config import HeaderParams
from mcpcore.engine.seal import request_binding
from mcpcore.errors import SealBroken
from mcpcore.relay.cells import CELLS, is_wrapped, result_in
from mcpcore.relay.link import Arrival, Outcome, Session, Target, UpstreamLink, void
from mcpcore.relay.names import IN_PARAMS, LISTED, ListCut, NameKind
from mcpcore.relay.rewriting import elements_of, members_of
from mcpcore.spec.capabilities import SKILLS_EXTENSION
from mcpcore.spec.errors import INVALID_PARAMS, LocalProtocolError
from mcpcore.spec.json_schema import header_params
from mcpcore.spec.methods import METHODS
from mcpcore.spec.types.base import TRACE_KEYS
from mcpcore.spec.types.capabilities import ServerCapabilities
from mcpcore.spec.types.tools import ToolAnnotations
from mcpcore.wire.jsontext import to_json

if TYPE_CHECKING:  # a type alone: it owns this part
    from mcpcore.relay.relay import Relay

LISTS: dict[str, str] = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
"""Members that hold the items, by the method that lists them."""
_KINDS = ("tools", "prompts", "resources")
CHANGED: dict[str, tuple[str, ...]] = {
    f"notifications/{kind}/list_changed": tuple(each for each in LISTS if each.startswith(kind))
    for kind in _KINDS
}
"""Methods that list what may have changed, by the notification that says so."""
UNAVAILABLE = "mcpcore/unavailable"
"""Key in the ``_meta`` of a merged page: names of the servers whose items are missing."""
_CAPABILITIES = {row.name: row.capability for row in METHODS if row.name in LISTS}
_NOTED = (b"x-mcp-header", b"readOnlyHint", b"idempotentHint", b"outputSchema")
"""Members of tools that the relay has to know."""
_LONGEST = 86_400.0
"""Maximum seconds for which a list is kept, whatever its server allows."""
_ALL = ""
"""Name in place of a server's for the pages of all in one."""
_ENTRY = 500
"""Bytes that a page takes besides its content and its cursor."""
_EMPTY, _NULL = Raw(b"{}"), Raw(b"null")
_OF_TRACE = frozenset(TRACE_KEYS) - {"baggage"}
"""Keys of ``_meta`` on which no list depends; what is in ``baggage`` is an application's."""

_ANY = msgspec.convert(
    {
        **{kind: {"listChanged": True, "subscribe": True} for kind in _KINDS},
        **{"completions": {}, "logging": {}},
    },
    ServerCapabilities,
)
"""Capabilities of a server that is not known yet."""

_decode_cursors = msgspec.msgpack.Decoder(tuple[bool, dict[str, str | None]]).decode
_encode_cursors = msgspec.msgpack.Encoder().encode


class _CursorParams(Struct):
    cursor: str | None = None


class _Listed(Struct):
    name: str
    input_schema: dict[str, Any] = msgspec.field(name="inputSchema", default_factory=dict)
    output_schema: Raw = msgspec.field(name="outputSchema", default=_NULL)
    annotations: ToolAnnotations | None = None


class _ListHints(Struct, rename="camel"):
    next_cursor: str | None = None
    ttl_ms: float | None = None
    cache_scope: str | None = None


_hints_of = msgspec.json.Decoder(_ListHints).decode
_cursor_of = msgspec.json.Decoder(_CursorParams).decode
_tool_of = msgspec.json.Decoder(_Listed).decode


class ServerPage(Struct, eq=False, gc=False):
    """Page of a server."""

    result: Raw
    """Result of the server; empty once there are ``items``."""
    size: int
    until: float
    """Time until which it may be used again."""
    cursor: str | None = None
    asked: str | None = None
    """Cursor of this page."""
    public: bool = True
    items: bytes | None = None
    """Elements of the list as clients see them, with commas between and without line breaks; of all
    servers in one, the object with them."""


_NONE = ServerPage(_EMPTY, 0, math.inf)
"""Page of a server that does not declare the list."""
Found = dict[tuple[str, str], list[ServerPage]]
"""Pages by server and method."""
Take = Callable[[ServerPage | None], None]
"""Function from the page of a server, None if it has none that can be had."""


class Wanted(Struct, frozen=True):
    """Page of a server that a client's request needs."""

    arrival: Arrival
    terms: bytes
    """Digest of what the request tells its servers besides, on which a list may depend."""
    server: str
    method: str
    cursor: str | None = None

    @property
    def place(self) -> tuple[str, str, str | None, bool, bytes]:
        """Place among the pages that are kept, but for those whom it may serve."""
        modern = self.arrival.event.revision.modern
        return self.server, self.method, self.cursor, modern, self.terms


class Lists:
    """Part of a relay that merges lists."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._kept: dict[tuple[Any, ...], ServerPage] = {}
        self._of_sessions: dict[Session, set[tuple[Any, ...]]] = {}
        """Keys of the pages that serve one session."""
        self._of_lists: dict[tuple[Any, ...], set[tuple[Any, ...]]] = {}
        """Keys of the pages of each list, by server and method."""
        self._size = 0
        self._next: dict[tuple[str, str, bool], str | None] = {}
        """Cursors of the pages that continue the names known so far, by server, by method, and by
        True for modern clients: a server of both eras has two lists."""
        self._unlearned: dict[tuple[str, str | None], float] = {}
        """Times at which all lists that can be had lacked the name in a request, by its method and
        its principal: others may see more.  Those of the last moments only."""
        self._changes: Counter[str] = Counter()
        """Number of changes of any list, by server."""
        self._announced: Counter[str] = Counter()
        """Number of those that the server has announced."""
        self._hidden_until: dict[tuple[str, str], float] = {}
        """Times until which a list that was missing may have any name, by server and method."""
        self._mirrored: dict[tuple[str, str], set[str]] = {}
        """Names that clients may have for a tool with arguments that headers mirror, by server and
        tool: it has a prefix only while the lists before it are not known."""
        self._mirrored_to: dict[tuple[str, str, Hashable], HeaderParams] = {}
        """Such arguments as a party was told of them, by personal server, tool and party."""

    def ask(self, arrival: Arrival) -> None:
        """Answer a request for a list, once every server has given its page or is late.

        Where names have no prefix, lists are read to their end before, so that no name depends on
        the pages that were read.  Raises msgspec.MsgspecError for params without the right types.
        """
        relay, event, changes = self._relay, arrival.event, self._changes.total()
        method, names = event.method, relay.names
        cursors: dict[str, str | None] = dict.fromkeys(relay.targets)
        cursor = _cursor_of(event.params).cursor
        public: bool | None = None
        wanting = partial(Wanted, arrival, _terms_of(arrival))
        if cursor is None:
            whole = self._kept_for(wanting(_ALL, method), *relay.targets.values())
            if whole is not None and whole.until > relay.now:
                self._respond(arrival, whole)
                return
        else:
            binding = request_binding(event.principal, method, _EMPTY)
            try:
                vector = relay.seal.open(cursor, binding, wall=relay.wall)
                public, cursors = _decode_cursors(vector)
            except (SealBroken, msgspec.MsgspecError):  # the latter: of an older version
                relay.refuse(arrival, INVALID_PARAMS, "cursor: not a cursor of this list")
                return
        read: Found = {}

        def go_on() -> None:
            known = {} if cursor is not None else read
            rest = [name for name in cursors if (name, method) not in known]
            wanted = [wanting(name, method, cursors[name]) for name in rest]
            self._gather(wanted, 1, partial(complete, known))

        def complete(known: Found, found: Found) -> None:
            pages = known | found
            parts = {name: next(iter(pages[name, method]), None) for name, _ in pages}
            whole = cursor is None and changes == self._changes.total()
            keep = wanting(_ALL, method) if whole else None
            self._complete(arrival, parts, cursors, public, keep=keep)

        lists = [(name, method) for name in relay.targets]
        unread = [place for place in lists if names.never and place not in names.read]
        if unread:
            self.read(arrival, unread, relay.hold(arrival, go_on), read)
        else:
            go_on()

    def _gather(
        self,
        lists: Sequence[Wanted],
        most: int,
        then: Callable[[Found], None],
        until: float = math.inf,
    ) -> None:
        """Get at most so many pages of lists, each from one that is given, then go on with them.

        ``until``: time after which no further page is asked for.
        """
        found: Found = {(each.server, each.method): [] for each in lists}
        left = set(found)

        def take(wanted: Wanted, page: ServerPage | None) -> None:
            place = wanted.server, wanted.method
            while page is not None:  # a loop, as there may be more kept pages than nested calls
                found[place].append(page)
                more = len(found[place]) < most and self._relay.now < until
                if page.cursor is None or not more:
                    break
                wanted = structs.replace(wanted, cursor=page.cursor)
                page = self._fresh(wanted)
                if page is None:
                    self._fetch(wanted, partial(take, wanted))
                    return
            left.remove(place)
            if left:
                return
            try:
                then(found)
            except Exception:
                self._relay.broken(wanted.arrival)
                raise

        if not lists:
            then(found)
        for each in lists:
            self._fetch(each, partial(take, each))

    def _fetch(self, wanted: Wanted, take: Take) -> None:
        """Get a page of a server; ``take`` gets None if it cannot be had."""
        target, kept = self._relay.targets.get(wanted.server), self._fresh(wanted)
        sign_ins, principal = self._relay.sign_ins, wanted.arrival.event.principal
        if target is None:
            take(None)
        elif sign_ins.lacks(target, principal):
            take(sign_ins.page(target, wanted.method))
        elif kept is not None:
            take(kept)
        else:
            send = partial(self._send, target, wanted, take)
            client, within = wanted.arrival.event.revision, self._relay.settings.list_timeout
            self._relay.conversations.when_known(
                target, client, send, within=within, principal=principal
            )

    def _fresh(self, wanted: Wanted) -> ServerPage | None:
        """Return a page of a server that is kept and needs not be asked for, None without one."""
        target, principal = self._relay.targets.get(wanted.server), wanted.arrival.event.principal
        if target is None or self._relay.sign_ins.lacks(target, principal):
            return None
        kept = self._kept_for(wanted, target)
        return None if kept is None or kept.until <= self._relay.now else kept

    def _key(self, wanted: Wanted, public: bool, *targets: Target) -> tuple[Any, ...]:
        """Return the key of a page of some servers, with those whom it may serve at the end."""
        if public:
            return *wanted.place, None
        audience = wanted.arrival.audience
        modern = all(each.modern_for(audience.revision) for each in targets)
        session = None if modern else audience.session
        told = next((each for each in targets if each.personal), targets[0])
        return *wanted.place, (*told.party(audience.principal), session)

    def _kept_for(self, wanted: Wanted, *targets: Target) -> ServerPage | None:
        public = self._kept.get(self._key(wanted, True))
        return public or self._kept.get(self._key(wanted, False, *targets))

    def _send(
        self, target: Target, wanted: Wanted, take: Take, tried: Collection[str] = ()
    ) -> None:
        relay, event = self._relay, wanted.arrival.event
        if target.greeted(event.revision) is None:
            take(None if target.away is None else self._kept_for(wanted, target))
            return
        if not target.offers(_CAPABILITIES[wanted.method], event.revision):
            take(_NONE)
            return
        try:
            link = relay.conversations.link(target, wanted.arrival.audience, tried)
        except LocalProtocolError:
            take(None)
            return
        timeout = relay.settings.list_timeout
        if link.away is not None:  # it has time to answer, but nobody waits
            take(self._kept_for(wanted, target))
            if len(link.pending) > len(link.listens):
                return
            take, timeout = void, relay.settings.call_timeout
        changes = (self._announced if take is void else self._changes)[target.name]
        received = partial(self._received, link, wanted, changes, take, {*tried, link.replica})
        declared = event.client_capabilities if link.modern else None
        params = None if wanted.cursor is None else {"cursor": wanted.cursor}
        meta = relayable(event.params)[1]
        relay.ask(
            link,
            wanted.method,
            params,
            received,
            timeout=timeout,
            meta=meta,
            capabilities=declared,
        )

    def _received(
        self,
        link: UpstreamLink,
        wanted: Wanted,
        changes: int,
        take: Take,
        tried: Collection[str],
        outcome: Outcome,
    ) -> None:
        """Keep the page of a server; give the last one instead of none while it is away."""
        target, hints = link.target, None
        if isinstance(outcome, Raw):
            with suppress(msgspec.MsgspecError):
                hints = _hints_of(outcome)
        lost = link.ended or link.replica in target.gone
        if lost and link.away is None and len(tried) < len(target.places):
            self._send(target, wanted, take, tried)  # another one has the same
            return
        if hints is None or not isinstance(outcome, Raw):
            take(self._kept_for(wanted, target) if link.is_away else None)
            if link.away is not None and take is not void:
                self._send(target, wanted, void)
            return
        modern = target.modern_for(wanted.arrival.event.revision)
        ttl = (hints.ttl_ms or 0.0) / 1000 if modern else self._relay.settings.list_ttl
        same = target.desk is None  # else those who have not signed in get another one
        public = modern and same and hints.cache_scope == "public"
        late = take is void  # the next request, upon the news that the server is back, gets it
        ttl = max(ttl, self._relay.settings.list_timeout * late)
        until = self._relay.now + min(ttl, _LONGEST)
        size = _ENTRY + len(outcome) + len(wanted.cursor or "")
        page = ServerPage(outcome, size, until, hints.next_cursor, wanted.cursor, public)
        counts = self._announced if late else self._changes
        if changes == counts[target.name]:  # else it may be of before it
            self._keep(self._key(wanted, public, target), page)
        take(page)

    def _hides(self, target: Target, method: str) -> bool:
        """Return True while names of the servers after one may be its, as its list is not known."""
        relay, place = self._relay, (target.name, method)
        if not relay.names.never or place in relay.names.read:
            return False
        if place not in self._hidden_until:
            since = relay.now if target.away is None else target.away
            self._hidden_until[place] = until = since + relay.settings.grace
            changed = partial(relay.subscriptions.lists_changed, *relay.targets.values())
            relay.later(max(until - relay.now, 0.0), changed)
        return relay.now < self._hidden_until[place]

    def absent(self, kind: NameKind) -> Target | None:
        """Return a server that may have any name of a kind, as its list is not known."""
        targets = self._relay.targets
        places = ((targets[name], method) for name, method in self._lists_of([kind]))
        return next((target for target, method in places if self._hides(target, method)), None)

    def _lists_of(self, kinds: Iterable[NameKind]) -> list[tuple[str, str]]:
        """Return all lists that have names of some kinds, by server and method."""
        methods = [each for kind in kinds for each in LISTED[kind]]
        return [(name, each) for name in self._relay.targets for each in methods]

    def _items(
        self, name: str, method: str, page: ServerPage, arrival: Arrival, *, new: bool = True
    ) -> bytes | None:
        """Return the elements of a page as clients see them, None if it has no list of items.

        ``new``: False to leave out what clients have no name for yet.
        """
        client = arrival.event.revision
        if page.items is None:
            target = self._relay.targets[name]
            with suppress(msgspec.MsgspecError, ValueError):
                self.note_tools(target, method, page.result, arrival)
                cell = CELLS[client.modern, target.modern_for(client)]
                result = result_in(cell, method, page.result)
                result = self._relay.names.outward_in(method, name, result, new=new)
                elements = elements_of(members_of(to_json(result)).get(LISTS[method], b"[]"))
                items = b",".join(map(bytes, elements))
                if not new:
                    return items
                page.items, page.result = items, _EMPTY
        series = name, method, client.modern
        if page.items is not None and self._next.get(series) == page.asked:
            self._next[series] = page.cursor
            if page.cursor is None:
                self._relay.names.read.add((name, method))
        return page.items

    def _keep(self, key: tuple[Any, ...], page: ServerPage) -> None:
        self._drop(key)
        session = _session_in(key)
        if session is not None:
            if self._relay.subscriptions.has_ended(session):
                return
            self._of_sessions.setdefault(session, set()).add(key)
        self._kept[key] = page
        self._of_lists.setdefault(key[:2], set()).add(key)
        self._size += page.size
        while self._size > self._relay.settings.list_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[Any, ...]) -> None:
        page = self._kept.pop(key, None)
        if page is None:
            return
        self._size -= page.size
        self._of_lists[key[:2]].remove(key)
        session = _session_in(key)
        if session is not None:
            keys = self._of_sessions[session]
            keys.remove(key)
            if not keys:
                del self._of_sessions[session]

    def session_ended(self, session: Session) -> None:
        """Keep no page for a session any longer."""
        for key in list(self._of_sessions.get(session, ())):
            self._drop(key)

    def forget(self, target: Target, methods: Collection[str] = LISTS) -> None:
        """Keep no page of a server any longer."""
        self._changes[target.name] += 1
        self._announced[target.name] += methods is not LISTS
        self._unlearned.clear()
        for place in product((_ALL, target.name), methods):
            for key in list(self._of_lists.get(place, ())):
                self._drop(key)

    def _complete(
        self,
        arrival: Arrival,
        parts: Mapping[str, ServerPage | None],
        asked: Mapping[str, str | None],
        public: bool | None,
        *,
        keep: Wanted | None,
    ) -> None:
        """Answer with the pages of all servers, None for each that has none.

        ``asked``: their cursors; a page that is missing may come with the next one.  ``public``:
        True if the pages before are, None if this is the first one: all must have the same scope.
        ``keep``: page as which to keep them, if that is all of their lists.
        """
        relay, event, method = self._relay, arrival.event, arrival.event.method
        pages, items, hidden = dict[str, ServerPage](), list[bytes](), False
        for name, target in relay.targets.items():  # in the order in which names are given
            page = parts.get(name)
            new = not hidden
            part = None if page is None else self._items(name, method, page, arrival, new=new)
            if page is not None and part is not None:
                pages[name] = page
                items.append(part)
            else:
                hidden = hidden or self._hides(target, method)
        missing = parts.keys() - pages.keys()
        public = not missing if public is None else public
        public = public and all(page.public for page in pages.values())
        cursors = {name: page.cursor for name, page in pages.items() if page.cursor is not None}
        members = b""
        if cursors:
            later = {name: asked[name] for name in missing if name in relay.targets} | cursors
            sealed, cut = self._sealed(event.principal, method, public, later)
            members = b'"nextCursor":' + msgspec.json.encode(sealed) if sealed else b""
            missing |= cut
        until = min([page.until for page in pages.values()], default=math.inf)
        if missing or until == math.inf:
            until = relay.now
        commas = [piece for each in items if each for piece in (b",", each)]
        body = b"".join((b'{"%b":[' % LISTS[method].encode(), *commas[1:], b"]}"))
        whole = ServerPage(_EMPTY, _ENTRY + len(body), until, public=public, items=body)
        room = self._size + whole.size <= relay.settings.list_bytes
        if keep is not None and not cursors and until > relay.now and room:
            self._keep(self._key(keep, public, *relay.targets.values()), whole)
        self._respond(arrival, whole, members, {UNAVAILABLE: sorted(missing)} if missing else None)

    def _sealed(
        self, principal: str | None, method: str, public: bool, cursors: dict[str, str | None]
    ) -> tuple[str, set[str]]:
        """Return a cursor for the next page, "" for none, and the servers that it leaves out.

        Those have cursors that are too long: the others keep theirs.
        """
        relay, cut = self._relay, set[str]()
        binding = request_binding(principal, method, _EMPTY)
        while cursors:
            with suppress(ValueError):
                vector = _encode_cursors((public, cursors))
                return relay.seal.seal(vector, binding, wall=relay.wall), cut
            longest = max(cursors, key=lambda name: len(cursors[name] or ""))
            del cursors[longest]
            cut.add(longest)
        return "", cut

    def _respond(
        self, arrival: Arrival, page: ServerPage, members: bytes = b"", meta: Any = None
    ) -> None:
        """Answer with a merged page: a list may be large, and is copied only as it is sent."""
        event, now = arrival.event, self._relay.now
        if event.revision.cache_hints:
            ttl = max(0, int((page.until - now) * 1000))
            scope = b"public" if page.public else b"private"
            hints = b'"ttlMs":%d,"cacheScope":"%b"' % (ttl, scope)
            members = b"%b,%b" % (members, hints) if members else hints
        machine = self._relay.at(arrival.machine)
        machine.respond(event.key, Raw(page.items or b""), meta=meta, bare=True, members=members)

    def note_tools(self, target: Target, method: str, result: Raw, arrival: Arrival) -> None:
        """Note the arguments that headers mirror, and what may be called twice or is wrapped.

        A tool that breaks the rules for these passes all the same: clients leave it out.  Of more
        tools than names are remembered nothing is noted.  Raises msgspec.MsgspecError for what is
        no list.
        """
        if method != "tools/list":
            return
        # A modern list tells the rest.
        handshaken = bool(target.legacy) and not arrival.event.revision.modern
        most, party = self._relay.settings.names, target.party(arrival.event.principal)
        known = target.repeatable or target.header_params or target.wrapped
        if not (known or any(each in bytes(result) for each in _NOTED)):
            return
        for element in elements_of(members_of(result).get("tools", b"[]")):
            try:
                tool = _tool_of(element)
                params = header_params(tool.input_schema)
            except (msgspec.MsgspecError, ValueError):
                continue
            hints = tool.annotations or ToolAnnotations()
            noted = [(target.repeatable, hints.read_only_hint or hints.idempotent_hint)]
            if not handshaken:
                noted.append((target.wrapped, is_wrapped(tool.output_schema)))
            for names, fits in noted:
                if not fits:
                    names.discard(tool.name)
                elif len(names) < most:
                    names.add(tool.name)
            found = self._relay.names.spellings(NameKind.TOOL, target.name, tool.name)
            if not found or handshaken:
                continue
            place = target.name, tool.name
            if target.personal:
                self._mirrored_to.pop((*place, party), None)
                if params and len(self._mirrored_to) >= most:
                    del self._mirrored_to[next(iter(self._mirrored_to))]
                if params:
                    self._mirrored_to[*place, party] = params
            if params and (tool.name in target.header_params or len(target.header_params) < most):
                target.header_params[tool.name] = params
                outers = self._mirrored.setdefault(place, set())
                outers |= found
                self._relay.header_params.update(dict.fromkeys(outers, params))
            elif target.header_params.pop(tool.name, {}):
                for each in self._mirrored.pop(place):
                    del self._relay.header_params[each]

    def has_mirrored(self, name: str, principal: str | None) -> bool:
        """Return True if the mirrored arguments that are known of a tool are those of a principal.

        Those of a personal server's may be of another's: to others nothing is said of them.
        """
        targets = self._relay.targets
        only = next(iter(targets)), name  # a server alone has no names that could be unknown
        server, tool = self._relay.names.inward(NameKind.TOOL, name) or only
        target = targets[server]
        if not target.personal:
            return True
        told = self._mirrored_to.get((server, tool, target.party(principal)))
        return told == self._relay.header_params.get(name)

    def learn(self, arrival: Arrival, then: Callable[[], None]) -> bool:
        """Read the lists that may have the name in a request, then go on; False if none helps."""
        names, method, params = self._relay.names, arrival.event.method, arrival.event.params
        if not names.told_by_lists(method, params):
            return False
        kinds = [kind for _, kind in IN_PARAMS[method]]

        def lacks() -> bool:
            return names.inward_in(method, params, learned=False) is None

        return self.read_kinds(arrival, kinds, then, lacks)

    def read_kinds(
        self,
        arrival: Arrival,
        kinds: Iterable[NameKind],
        then: Callable[[], None],
        lacks: Callable[[], bool],
    ) -> bool:
        """Read the lists of all servers that have names of some kinds, then go on.

        ``lacks``: function that returns True if they lack a name in the request.  Return False,
        and read none, if they did so a moment ago.
        """
        relay, event = self._relay, arrival.event
        asked, since = (event.method, event.principal), relay.now - relay.settings.unknown_apart
        if self._unlearned.get(asked, -math.inf) > since:
            return False
        lists = self._lists_of(kinds)

        def learned() -> None:
            if lacks():  # also where a list cannot be had
                recent = {key: at for key, at in self._unlearned.items() if at > since}
                self._unlearned = {**recent, asked: relay.now}
            then()

        self.read(arrival, lists, relay.hold(arrival, learned))
        return True

    def read(
        self,
        arrival: Arrival,
        lists: Iterable[tuple[str, str]],
        then: Callable[[], None],
        found: Found | None = None,
    ) -> None:
        """Read lists, each of a server by a method, then go on; their pages are in ``found`` then.

        Names are given in the order of ``lists``, whichever arrives first.  A list that has too
        many pages, or keeps names waiting longer than the grace time, is known as far as it was
        read.
        """
        settings, names = self._relay.settings, self._relay.names
        most, until = settings.pages, self._relay.now + max(settings.grace, settings.list_timeout)

        def complete(read: Found) -> None:
            hidden = set[str]()
            for (server, method), pages in read.items():
                for page in pages if method not in hidden else ():
                    self._items(server, method, page, arrival)
                enough = len(pages) == most or (names.never and self._relay.now >= until)
                if pages and pages[-1].cursor is not None and enough:
                    names.read.add((server, method))
                    names.report(ListCut(server, method, len(pages)))
                elif self._hides(self._relay.targets[server], method):
                    hidden.add(method)
            if found is not None:
                found.update(read)
            then()

        wanting = partial(Wanted, arrival, _terms_of(arrival))
        self._gather([wanting(*place) for place in lists], most, complete, until)


def _terms_of(arrival: Arrival) -> bytes:
    """Return a digest of a client's capabilities and ``_meta``, but for the place in a trace.

    Raises msgspec.MsgspecError for params that are malformed.
    """
    import hashlib  # late: an import that takes longer than all of this module

    meta = relayed(arrival.event.params)[1]
    told = sorted((key, each) for key, each in meta.items() if key not in _OF_TRACE)
    terms = arrival.event.client_capabilities, told
    return hashlib.sha256(msgspec.json.encode(terms)).digest()


def _session_in(key: tuple[Any, ...]) -> Session | None:
    """Return the session that a page with this key serves, None if others may have it."""
    scope = key[-1]
    return None if scope is None else scope[2]


def merged_capabilities(targets: Iterable[Target], *, plain: bool = True) -> ServerCapabilities:
    """Return what any of the servers declares; one that has not answered may declare anything.

    Tasks of several servers are listed by none: their pages are not merged.  Skills are offered if
    names are ``plain``: those in the texts of a skill have no prefix.
    """
    servers = list(targets)
    told = [each for server in servers for each in (server.greeting, server.handshake)]
    known = [each.capabilities for each in told if each is not None]
    known += [_ANY for each in servers if each.greeting is None]
    declared = [each for each in known if isinstance(each, ServerCapabilities)]
    if len(declared) == 1 and plain:
        return declared[0]
    merged: Any = reduce(_both, map(msgspec.to_builtins, declared), {})
    if len(servers) > 1:
        merged.get("tasks", {}).pop("list", None)
    if not plain:
        merged.get("extensions", {}).pop(SKILLS_EXTENSION, None)
    return msgspec.convert(merged, ServerCapabilities)


def _both(one: Any, other: Any) -> Any:
    """Return the union of two JSON values: of the members of objects, else of what is true."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one or other
    return {**one, **{key: _both(one.get(key, each), each) for key, each in other.items()}}
