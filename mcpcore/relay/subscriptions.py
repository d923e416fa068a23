"""Changes that servers announce, on their way to the clients that want to hear of them.

A client that wants changes is a watcher: the listen stream of a modern client, or the session of a
legacy one.  It has a stream at each server that announces what it wants, which is a part of what
the server is asked for (:mod:`mcpcore.relay.listens`).

Source: the subscriptions page of 2026-07-28; the resources page of 2025-11-25.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine import events
from mcpcore.engine.events import Key
from mcpcore.engine.peer import Peer
from mcpcore.engine.subscriptions import TOPICS, narrowed
from mcpcore.http.storing import SessionRestored
from mcpcore.relay.link import Arrival, Audience, Downstream, Session, Target, UpstreamLink
from mcpcore.relay.listens import (
    SUBJECT_FIELDS,
    URIS,
    Feed,
    FeedRequest,
    Item,
    Listens,
    filter_of,
    items_of,
)
from mcpcore.relay.lists import CHANGED
from mcpcore.relay.names import NameKind
from mcpcore.relay.rewriting import members_of, on_text, path, rewrite
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData, LocalProtocolError
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.lifecycle import SubscriptionsListenParams
from mcpcore.wire.jsontext import to_json

if TYPE_CHECKING:  # a type alone: it owns this part
    from mcpcore.relay.relay import Relay

_LISTEN = "subscriptions/listen"
_SUBSCRIBE, _UNSUBSCRIBE = "resources/subscribe", "resources/unsubscribe"
_UPDATED = "notifications/resources/updated"
_TASK_ID = path("taskId")
_LIST_CHANGES = {name: TOPICS[name] for name in CHANGED}
_ROWS = {topic.field: topic.row for topic in TOPICS.values()}
_LISTS = frozenset((topic.field, "") for topic in _LIST_CHANGES.values())
_TASKS = "task_ids"
_listen_of = msgspec.json.Decoder(SubscriptionsListenParams).decode


class _UpdatedUri(Struct):
    uri: str


_subject_of = msgspec.json.Decoder(_UpdatedUri).decode


class Watcher(Struct, eq=False):
    """Client that wants to hear of changes."""

    machine: Downstream
    where: dict[str, Any]
    """Argument that names to the machine the listen stream, or the session."""
    audience: Audience
    caller: Hashable
    wanted: frozenset[Item]
    """Changes that the client wants, with the names that it uses."""
    granted: frozenset[Item] = frozenset()
    """Changes that servers announce, by the same names."""
    tasks: dict[tuple[str, str], str] = {}
    """Tasks that the client wants to hear of, by server and the id there."""
    left: int = 0
    """Answers of servers that are awaited before a listen stream opens."""
    streams: dict[str, "Stream"] = {}
    """Streams by server; none of a legacy server where a session has subscribed to nothing."""
    ended: bool = False

    @property
    def key(self) -> Key | None:
        """Key of the listen stream, None for a session."""
        return self.where.get("parent")


class Stream(Struct, eq=False):
    """Changes of a server for one watcher."""

    watcher: Watcher
    target: Target
    items: frozenset[Item]
    """Part of what the watcher wants."""
    feeds: dict[Feed, set[Item]] = msgspec.field(default_factory=dict)
    """Items by the feed that has them."""
    waiting: dict[frozenset[Item], list[Arrival]] = {}
    """Requests of a legacy client by the items that the server is being asked for."""

    @property
    def held(self) -> frozenset[Item]:
        """Items that feeds have."""
        return frozenset[Item]().union(*self.feeds.values())

    @property
    def modern(self) -> bool:
        """True if the server is modern for this watcher."""
        return self.target.modern_for(self.watcher.audience.revision)


class Subscriptions:
    """Part of a relay that knows the watchers."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self.handlers = {
            _LISTEN: self._listen,
            _SUBSCRIBE: self._subscribe,
            _UNSUBSCRIBE: self._subscribe,
        }
        """Handlers of requests about changes, by method.  They raise msgspec.MsgspecError."""
        self._streams: dict[tuple[Downstream, Key], Watcher] = {}
        self.sessions: dict[Session | None, Watcher] = {}
        """Watchers that are sessions of legacy clients, while they are open."""
        self._again: dict[Hashable, Callable[[], None] | None] = {}
        """Changes of lists that were told a moment ago, each with what tells the last one since."""
        self.listens = Listens(relay, self._item_changed, partial(self._open_stream, failures=1))

    # Requests of clients

    def _listen(self, arrival: Arrival) -> None:
        """Open a listen stream of a modern client once every server has answered."""
        wanted = _listen_of(arrival.event.params).notifications
        where = {"parent": arrival.event.key}
        audience, caller = arrival.audience, arrival.caller
        tasks = self._relay.tasks.opened(audience, wanted.task_ids)
        watcher = Watcher(arrival.machine, where, audience, caller, items_of(wanted), tasks=tasks)
        self._streams[arrival.place] = watcher
        watcher.left = len(self._relay.targets)
        watch = partial(self._watch_all, watcher)

        def lacks() -> bool:
            owned = partial(self._owner, learned=False)
            return not all(map(owned, wanted.resource_subscriptions))

        lists, listed = self._relay.lists, self._relay.names.listed
        if not (listed and lacks() and lists.read_kinds(arrival, [NameKind.URI], watch, lacks)):
            watch()

    def _watch_all(self, watcher: Watcher, *, missed: bool = False) -> None:
        for target in self._relay.targets.values():
            self._watch_soon(watcher, target, missed=missed)

    def _watch_soon(self, watcher: Watcher, target: Target, *, missed: bool = False) -> None:
        """Watch a server for a client once its era is known."""
        self._relay.conversations.when_known(
            target,
            watcher.audience.revision,
            partial(self._watch, watcher, target, missed),
            within=None if watcher.key is None else self._relay.settings.list_timeout,
            principal=watcher.audience.principal,
        )

    def signed_in(self, target: Target, principal: str) -> None:
        """Watch a server for the clients of a principal that has signed in; its lists are new."""
        for watcher in [*self._streams.values(), *self.sessions.values()]:
            if watcher.audience.principal == principal and target.name not in watcher.streams:
                for method, topic in _LIST_CHANGES.items():
                    if (topic.field, "") in watcher.granted:
                        self._announce(watcher, method, None)
                self._watch_soon(watcher, target)

    def _watch(self, watcher: Watcher, target: Target, missed: bool) -> None:
        """Ask one server for the part of a filter that it can announce.

        ``missed``: True if it may have changed before.
        """
        part, client = self._part(watcher, watcher.wanted, target), watcher.audience.revision
        known, stream = target.greeted(client) is not None, watcher.streams.get(target.name)
        if self._relay.sign_ins.lacks(target, watcher.audience.principal):
            self._granted(watcher, watcher.wanted & _LISTS)  # they change by the sign-in
        elif not known and watcher.key is None and not watcher.ended:
            again = partial(self._watch, watcher, target, missed)
            target.waiting.append((client, again))  # until it is there
        elif watcher.ended or not known or not (part or stream):
            self._granted(watcher, part)
        elif stream is not None:
            stream.items = part
            with suppress(LocalProtocolError):  # the worker where it was chosen hears of it
                self.listens.change(stream, part)
            self._close_unused(stream)
        elif target.modern_for(client) or watcher.key is not None or part - _LISTS:
            watcher.streams[target.name] = stream = Stream(watcher, target, part)
            self._open_stream(stream, failures=int(missed))
        # Else it is a session, which hears of lists in its conversation as soon as it has one.

    def _part(self, watcher: Watcher, wanted: frozenset[Item], target: Target) -> frozenset[Item]:
        """Return the part of some changes that one server offers a watcher, by its own names."""
        client = watcher.audience.revision
        part = {(_TASKS, id) for server, id in watcher.tasks if server == target.name}
        part |= {(field, uri) for field, uri in wanted if field not in SUBJECT_FIELDS}
        named = (self._inward(target, outer) for field, outer in wanted if field == URIS)
        part |= {(URIS, uri) for uri in named if uri}
        return frozenset(each for each in part if target.offers(_ROWS[each[0]].capability, client))

    def _owner(self, uri: str, *, learned: bool = True) -> tuple[str, str] | None:
        names = self._relay.names
        return names.inward(NameKind.URI, uri) or names.owner_of_uri(uri, learned=learned)

    def _inward(self, target: Target, uri: str) -> str | None:
        if self._relay.names.plain:
            return uri
        found = self._owner(uri)
        return found[1] if found is not None and found[0] == target.name else None

    def _outward(self, stream: Stream, announced: Iterable[Item]) -> frozenset[Item]:
        server, tasks, names = stream.target.name, stream.watcher.tasks, self._relay.names
        found: set[tuple[str, str | None]] = set()
        for field, subject in announced:
            outer: str | None = subject
            if field == URIS:
                outer = names.outward(NameKind.URI, server, subject, listed=False)
            elif field == _TASKS:
                outer = tasks.get((server, subject))
            found.add((field, outer))
        return frozenset((field, outer) for field, outer in found if outer is not None)

    def _granted(self, watcher: Watcher, part: frozenset[Item]) -> None:
        """Note what a server announces; open the client's stream after the last answer."""
        watcher.granted |= part
        if watcher.key is None or not watcher.left:
            return
        watcher.left -= 1
        if watcher.left or watcher.ended:
            return
        if not self._relay.at(watcher.machine).admit(watcher.key):
            self.closed(watcher.machine, watcher.key)

    def opened(self, machine: Downstream, event: events.SubscriptionOpened) -> None:
        """Restrict a stream that has opened to what the servers announce."""
        admitted = event.admitted
        watcher = None if admitted is None else self._streams.pop((machine, admitted), None)
        if watcher is not None:
            watcher.where = {"parent": event.key}
            self._streams[machine, event.key] = watcher
            granted = narrowed(event.filter, filter_of(watcher.granted))
            self._relay.at(machine).narrow(event.key, granted)

    def closed(self, machine: Downstream, key: Key) -> None:
        """Stop watching for a stream that has ended, or was given up before it opened."""
        watcher = self._streams.pop((machine, key), None)
        if watcher is not None:
            self._leave(watcher)
            self._relay.at(machine).release(key)

    def _leave(self, watcher: Watcher) -> None:
        watcher.ended = True
        while watcher.streams:
            self._close(watcher.streams.popitem()[1])

    def greeted(self, link: UpstreamLink, again: bool) -> None:
        """Go on at a server that was away, or ``again`` as a legacy one has lost the session."""
        self.listens.greeted(link, again)
        session = self.sessions.get(link.audience.session)
        if again and session is not None and link.target.name not in session.streams:
            self._announce_lists(session, link.target)

    def told(
        self, link: UpstreamLink, method: str, params: Raw, listen: FeedRequest | None = None
    ) -> None:
        """Pass on a change that a server announces, on a listen stream or outside of any."""
        body = self._body(link.target, link.audience.revision, method, params)
        if body is None:
            return
        if method in CHANGED:  # there may be many, and many watchers
            again = partial(self.told, link, method, params, listen)
            if not self._is_first((link, listen, method), again):
                return
        streams = self.listens.streams(listen or link.feed, method, params)
        for stream in streams:
            own = on_text(partial(_id_of, stream.watcher.tasks, link.target.name))
            named = body if method in CHANGED else rewrite(body, _TASK_ID, own)
            self._announce(stream.watcher, method, named)
        session = None if listen is not None else self.sessions.get(link.audience.session)
        told = {stream.watcher for stream in streams}
        if session is not None and session not in told and method in CHANGED:
            self._announce(session, method, body)

    def _is_first(self, change: Hashable, again: Callable[[], None]) -> bool:
        """Return True for a change that is to be told now: those of the next moment are one more.

        ``again``: function that tells it then.
        """
        if change in self._again:
            self._again[change] = again
            return False
        self._again[change] = None
        self._relay.later(self._relay.settings.changes_apart, partial(self._tell_again, change))
        return True

    def _tell_again(self, change: Hashable) -> None:
        again = self._again.pop(change)
        if again is not None:
            again()

    def _body(self, target: Target, client: Revision, method: str, params: Raw) -> Raw | None:
        """Return the params of a change by the clients' names, without the id of a stream.

        None if it is to be told to nobody.  The list that has changed is not kept any longer.
        """
        if method in CHANGED:
            self._relay.lists.forget(target, CHANGED[method])
            if not target.offers(TOPICS[method].row.capability, client):
                return None
        try:
            if META_SUBSCRIPTION_ID.encode() in bytes(params):
                members = members_of(params)
                meta = members_of(members.pop("_meta"))
                meta.pop(META_SUBSCRIPTION_ID, None)
                if meta:
                    members["_meta"] = Raw(to_json(meta))
                params = Raw(to_json(members))
            if method == _UPDATED:
                _subject_of(params)
        except (msgspec.MsgspecError, KeyError):
            return None
        return self._relay.names.outward_in(method, target.name, params)

    def _announce(self, watcher: Watcher, method: str, body: Raw | None) -> None:
        """Tell a watcher of a change; the next of the same list follows a moment later."""
        if watcher.ended or watcher.left:
            return
        if method in CHANGED:
            again = partial(self._announce, watcher, method, body)
            if not self._is_first((watcher, method), again):
                return
        self._relay.at(watcher.machine).notify(method, body, **watcher.where)

    def _announce_lists(self, watcher: Watcher, *targets: Target) -> None:
        """Tell a watcher that lists of servers may have changed."""
        for method, topic in _LIST_CHANGES.items():
            row, client = topic.row, watcher.audience.revision
            offered = any(target.offers(row.capability, client) for target in targets)
            if offered and (topic.field, "") in watcher.granted:
                self._announce(watcher, method, None)

    def lists_changed(self, *targets: Target) -> None:
        """Tell all watchers that the lists of servers have changed, as one is gone or back."""
        fresh = [it for it in targets if self._is_first(it, partial(self.lists_changed, it))]
        for watcher in [*self._streams.values(), *self.sessions.values()] if fresh else ():
            self._announce_lists(watcher, *fresh)

    # Sessions of legacy clients

    def session_ready(self, machine: Downstream, event: events.Ready) -> None:
        """Begin to watch for a legacy client, which hears of changed lists unasked."""
        session = machine, event.session or ""
        declared = cast(ClientCapabilities, event.capabilities)  # a server hears of its client's
        audience = Audience(event.principal, session, declared, event.revision)
        self._watch_all(self._session_watcher(session, audience))

    def lasts(self, session: Session | None) -> bool:
        """Return True for a session that is not for one request alone."""
        if session is None or session in self.sessions:
            return session is not None
        return isinstance(session[0], Peer) or session[0].settings.sessions

    def has_ended(self, session: Session) -> bool:
        """Return True for a session that is over, and was not for one request alone."""
        return session not in self.sessions and self.lasts(session)

    def _session_watcher(self, session: Session, audience: Audience) -> Watcher:
        machine, id = session
        caller, where = audience.principal or session, {"session": id} if id else {}
        watcher = Watcher(machine, where, audience, caller, _LISTS, _LISTS)
        self.sessions[session] = watcher
        return watcher

    def session_restored(self, machine: Downstream, event: SessionRestored) -> None:
        """Watch for a session that another process has begun, and as its client chose there.

        What it had subscribed to may have changed before.
        """
        session = machine, event.session
        if event.log_level is not None:
            self._relay.level_changed(session, event.log_level)
        watcher = self.sessions.get(session)
        missed = watcher is None and bool(event.subscriptions)
        if watcher is None:
            audience = Audience(event.principal, session, event.capabilities, event.revision)
            watcher = self._session_watcher(session, audience)
        watcher.wanted = _LISTS | {(URIS, uri) for uri in event.subscriptions}
        self._watch_all(watcher, missed=missed)

    def session_ended(self, session: Session) -> None:
        """Stop watching for a session."""
        watcher = self.sessions.pop(session, None)
        if watcher is not None:
            self._leave(watcher)

    def _subscribe(self, arrival: Arrival) -> None:
        """Handle ``resources/subscribe`` or its opposite, which the engine answers if admitted."""
        _subject_of(arrival.event.params)  # raises for params without a URI
        self._relay.find(arrival, self._subscribe_at)

    def _subscribe_at(self, target: Target, arrival: Arrival, params: Raw) -> None:
        work = partial(self._subscribed, target, arrival, _subject_of(params).uri)
        client, within = arrival.event.revision, self._relay.settings.list_timeout
        self._relay.conversations.when_known(target, client, work, arrival, within=within)

    def _subscribed(self, target: Target, arrival: Arrival, uri: str) -> None:
        relay, audience = self._relay, arrival.audience
        watcher = self.sessions.get(audience.session)
        if relay.sign_ins.lacks(target, audience.principal):
            relay.fail(arrival, relay.sign_ins.refusal(target))
            return
        if target.greeted(audience.revision) is None:
            relay.fail(arrival, target.unreachable)
            return
        if watcher is None:
            relay.refuse(arrival, INTERNAL_ERROR, "the session is not open")
            return
        items, stream = frozenset({(URIS, uri)}), watcher.streams.get(target.name)
        if arrival.event.method == _UNSUBSCRIBE:
            if stream is not None:
                self.listens.remove(stream, items, frozenset())
                stream.items -= items
                self._close_unused(stream)
            relay.at(arrival.machine).admit(arrival.event.key)
            return
        if stream is None:
            stream = Stream(watcher, target, self._part(watcher, _LISTS, target))
            watcher.streams[target.name] = stream
            self._open_stream(stream)
        waiting = stream.waiting.setdefault(items, [])
        waiting.append(arrival)
        if len(waiting) > 1:
            return
        try:
            self.listens.add(stream, items, partial(self._listened, stream, items))
        except LocalProtocolError as error:
            refusal = ErrorData.make(INTERNAL_ERROR, str(error))
            self._listened(stream, items, refusal)

    def _listened(
        self, stream: Stream, items: frozenset[Item], outcome: frozenset[Item] | ErrorData
    ) -> None:
        """Answer the requests of a legacy client for a subscription, which may be several."""
        relay, arrivals = self._relay, stream.waiting.pop(items)
        if isinstance(outcome, ErrorData):
            for arrival in arrivals:
                relay.fail(arrival, outcome)
        else:
            admitted = [relay.at(each.machine).admit(each.event.key) for each in arrivals]
            if any(admitted):
                stream.items |= items
            else:  # they were given up meanwhile
                self.listens.remove(stream, items - stream.items, frozenset())
        self._close_unused(stream)

    # Streams

    def _open_stream(self, stream: Stream, failures: int = 0) -> None:
        """Ask a server for a stream; after ``failures`` changes may have been missed."""
        watcher, target = stream.watcher, stream.target
        if watcher.streams.get(target.name) is not stream:
            return
        take = partial(self._taken, stream, failures)
        if target.greeted(watcher.audience.revision) is None:  # it is being asked for
            take(target.unreachable)
            return
        try:
            self.listens.add(stream, stream.items, take)
        except LocalProtocolError as error:
            take(target.error(str(error)))

    def _taken(self, stream: Stream, failures: int, outcome: frozenset[Item] | ErrorData) -> None:
        """Note what a server will announce; without an answer it is asked again later.

        A listen stream of a client opens without the servers that announce nothing for it.
        """
        watcher, name = stream.watcher, stream.target.name
        if watcher.streams.get(name) is not stream:
            return
        if not isinstance(outcome, ErrorData):
            for item in sorted(outcome) if failures else ():
                self._item_changed(item, [stream])
            if not failures:
                self._granted(watcher, self._outward(stream, outcome))
        elif failures or watcher.key is None:
            again = partial(self._open_stream, stream, failures + 1)
            self._relay.later(self.listens.delay(failures), again)
        else:
            del watcher.streams[name]
            self._granted(watcher, frozenset())

    def _item_changed(self, item: Item, streams: list[Stream]) -> None:
        """Announce that something may have changed, as its announcement may have been missed."""
        field, subject = item
        method, target, body = _ROWS[field].name, streams[0].target, None
        client = streams[0].watcher.audience.revision
        if field == _TASKS or not target.offers(_ROWS[field].capability, client):
            return  # the state of a task is not known
        if subject:
            body = self._body(target, client, method, Raw(to_json({"uri": subject})))
            if body is None:
                return
        for stream in streams:
            self._announce(stream.watcher, method, body)

    def _close_unused(self, stream: Stream) -> None:
        """Close a stream of a session at a legacy server where it has subscribed to nothing.

        It hears of lists in its conversation all the same.
        """
        watcher, name = stream.watcher, stream.target.name
        subscribed = any(field == URIS for field, _ in stream.items | stream.held)
        if not (stream.modern or subscribed) and watcher.streams.get(name) is stream:
            self._close(watcher.streams.pop(name))

    def _close(self, stream: Stream) -> None:
        over = ErrorData.make(INTERNAL_ERROR, "the session has ended")
        self.listens.remove(stream, None, over)


def _id_of(tasks: Mapping[tuple[str, str], str], server: str, id: str) -> str | None:
    """Return the id that a client knows of a task of a server."""
    return tasks.get((server, id))
