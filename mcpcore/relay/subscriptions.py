"""Changes that servers announce, on their way to the clients that want to hear of them.

A client that wants changes is a watcher: the listen stream of a modern client, or the session of a
legacy one.  It has a stream at each server that announces what it wants: a part of the listen
streams of a modern server (:mod:`mcpcore.relay.listens`); a conversation with a legacy server, and
the subscriptions there.

Source: the subscriptions page of 2026-07-28; the resources page of 2025-11-25.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct, structs

from mcpcore.engine import events
from mcpcore.engine.events import Key
from mcpcore.engine.peer import Peer
from mcpcore.engine.subscriptions import TOPICS, narrowed
from mcpcore.http.storing import SessionRestored
from mcpcore.relay.link import (
    Arrival,
    Audience,
    Downstream,
    Outcome,
    Session,
    Target,
    UpstreamLink,
    void,
)
from mcpcore.relay.listens import (
    SUBJECT_FIELDS,
    ChangeStream,
    Feed,
    Item,
    Listens,
    ListenSignal,
    ListenState,
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
from mcpcore.wire.message import to_json

if TYPE_CHECKING:  # a type alone: it owns this part
    from mcpcore.relay.relay import Relay

_LISTEN = "subscriptions/listen"
_SUBSCRIBE, _UNSUBSCRIBE = "resources/subscribe", "resources/unsubscribe"
_UPDATED = "notifications/resources/updated"
_TASK_ID = path("taskId")
_LIST_CHANGES = {name: TOPICS[name] for name in CHANGED}
_ROWS = {topic.field: topic.row for topic in TOPICS.values()}
_LISTS = frozenset((topic.field, "") for topic in _LIST_CHANGES.values())
_URIS, _TASKS = "resource_subscriptions", "task_ids"

_EMPTY = Raw(b"{}")
_listen_of = msgspec.json.Decoder(SubscriptionsListenParams).decode


class _Subject(Struct):
    uri: str


_subject_of = msgspec.json.Decoder(_Subject).decode


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
    told: dict[str, list[Raw | None]] = {}
    """Changes of lists that were announced a moment ago, each with the params of the next one."""
    ended: bool = False

    @property
    def key(self) -> Key | None:
        """Key of the listen stream, None for a session."""
        return self.where.get("parent")


class Stream(ChangeStream, eq=False):
    """Changes of a server for one watcher."""

    watcher: Watcher
    target: Target
    items: frozenset[Item]
    """Part of what the watcher wants, of a modern server when it was opened."""
    feeds: dict[Feed, set[Item]] = msgspec.field(default_factory=dict)
    """Items at a modern server, by the feed that has them."""
    left: int = 0
    """Subscriptions that a legacy server has yet to answer."""
    link: UpstreamLink | None = None
    """Conversation with a legacy server."""

    @property
    def modern(self) -> bool:
        """True if the server is modern for this watcher."""
        return self.target.modern_for(self.watcher.audience.revision)

    @property
    def uris(self) -> set[str]:
        """Resources among the items."""
        return {subject for field, subject in self.items if field == _URIS}


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
        self.listens = Listens(relay, self._item_changed, self._stream_over)

    # Requests of clients

    def _listen(self, arrival: Arrival) -> None:
        """Open a listen stream of a modern client once every server has answered."""
        wanted = _listen_of(arrival.event.params).notifications
        where = {"parent": arrival.event.key}
        tasks = self._relay.tasks.opened(arrival.event.principal, wanted.task_ids)
        audience, caller = arrival.audience, arrival.caller
        watcher = Watcher(arrival.machine, where, audience, caller, items_of(wanted), tasks=tasks)
        self._streams[arrival.place] = watcher
        watcher.left = len(self._relay.targets)
        watch = partial(self._watch_all, watcher)
        if self._relay.names.listed and not all(map(self._owner, wanted.resource_subscriptions)):
            self._relay.lists.read_kinds(arrival, [NameKind.URI], watch)
        else:
            watch()

    def _watch_all(self, watcher: Watcher, state: ListenState = ListenState.OPENING) -> None:
        within = None if watcher.key is None else self._relay.settings.list_timeout
        for target in self._relay.targets.values():  # a session has nothing to wait for
            if self._relay.sign_ins.lacks(target, watcher.audience.principal):
                self._granted(watcher, watcher.wanted & _LISTS)  # they change by the sign-in
            else:
                self._watch_soon(watcher, target, state, within)

    def _watch_soon(
        self, watcher: Watcher, target: Target, state: ListenState, within: float | None = None
    ) -> None:
        """Watch a server for a client once its era is known."""
        client, principal = watcher.audience.revision, watcher.audience.principal
        watch = partial(self._watch, watcher, target, state)
        self._relay.conversations.when_known(
            target, client, watch, within=within, principal=principal
        )

    def signed_in(self, target: Target, principal: str) -> None:
        """Watch a server for the clients of a principal that has signed in; its lists are new."""
        for watcher in [*self._streams.values(), *self.sessions.values()]:
            if watcher.audience.principal == principal and target.name not in watcher.streams:
                for method, topic in _LIST_CHANGES.items():
                    if (topic.field, "") in watcher.granted:
                        self._announce(watcher, method, None)
                self._watch_soon(watcher, target, ListenState.OPENING)

    def _watch(self, watcher: Watcher, target: Target, state: ListenState) -> None:
        """Ask one server for the part of a filter that it can announce."""
        part = self._part(watcher, watcher.wanted, target)
        client, again = watcher.audience.revision, partial(self._watch, watcher, target, state)
        known = target.greeted(client) is not None
        if not known and watcher.key is None and not watcher.ended:
            target.waiting.append((client, again))  # until it is there
        elif watcher.ended or not known or not part:
            self._granted(watcher, part)
        elif target.modern_for(client) or watcher.key is not None or part - _LISTS:
            self._open_stream(Stream(watcher, target, part, state=state))
        # Else it is a session, which hears of lists in its conversation as soon as it has one.

    def _part(self, watcher: Watcher, wanted: frozenset[Item], target: Target) -> frozenset[Item]:
        """Return the part of some changes that one server offers a watcher, by its own names."""
        client = watcher.audience.revision
        part = {(_TASKS, id) for server, id in watcher.tasks if server == target.name}
        part |= {(field, uri) for field, uri in wanted if field not in SUBJECT_FIELDS}
        named = (self._inward(target, outer) for field, outer in wanted if field == _URIS)
        part |= {(_URIS, uri) for uri in named if uri}
        return frozenset(each for each in part if target.offers(_ROWS[each[0]].capability, client))

    def _owner(self, uri: str) -> tuple[str, str] | None:
        names = self._relay.names
        return names.inward(NameKind.URI, uri) or names.owner_of_uri(uri)

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
            if field == _URIS:
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
        for stream in watcher.streams.values():
            self._close(stream)
        watcher.streams.clear()

    # Legacy servers

    def _subscribe_all(self, stream: Stream, link: UpstreamLink) -> None:
        """Subscribe at a legacy server for a stream.

        It opens with the last answer, and at once if the server had let it have all before.
        """
        again, uris = stream.state is ListenState.REOPENING, sorted(stream.uris)
        stream.left = len(uris)
        for uri in uris:
            self._join(stream, link, uri, void if again else partial(self._joined, stream, uri))
        if again or not uris:
            self._open(stream, stream.items)

    def _join(
        self, stream: Stream, link: UpstreamLink, uri: str, take: Callable[[Outcome], None]
    ) -> None:
        link.uris.setdefault(uri, set()).add(stream)
        self._relay.ask(link, _SUBSCRIBE, {"uri": uri}, take)

    def _joined(self, stream: Stream, uri: str, outcome: Outcome) -> None:
        """Take the answer of a legacy server to a subscription for a stream."""
        if stream.link is None:
            return
        if isinstance(outcome, ErrorData):
            self._without(stream, stream.link, uri)
        stream.left -= 1
        if not stream.left:
            self._open(stream, stream.items)

    def _unsubscribe(self, stream: Stream, link: UpstreamLink, uris: Iterable[str]) -> None:
        """Take resources out of a stream, and unsubscribe from those that no other has."""
        for uri in sorted(uris):
            if self._without(stream, link, uri):
                self._relay.ask(link, _UNSUBSCRIBE, {"uri": uri}, void)

    def _without(self, stream: Stream, link: UpstreamLink, uri: str) -> bool:
        """Take a resource out of a stream; True if no other of the conversation has it."""
        stream.items -= {(_URIS, uri)}
        others = link.uris.pop(uri, set()) - {stream}
        if others:
            link.uris[uri] = others
        return not others

    def greeted(self, link: UpstreamLink, again: bool) -> None:
        """Subscribe at a legacy server that was away, or ``again`` as it has lost the session."""
        for stream in list(link.streams):
            if again and stream.move(ListenSignal.LOSE):
                stream.move(ListenSignal.REOPEN)
            if stream.state is ListenState.REOPENING:
                self._subscribe_all(stream, link)
        session = self.sessions.get(link.audience.session)
        if again and session is not None and link.target.name not in session.streams:
            self._announce_lists(session, link.target)

    def lost(self, link: UpstreamLink) -> None:
        """Open the streams again that were part of a conversation with a legacy server."""
        for stream in list(link.streams):
            self._stream_over(stream)

    def told(self, link: UpstreamLink, method: str, params: Raw) -> None:
        """Pass on a change that a legacy server announces."""
        body = self._body(link.target, link.audience.revision, method, params)
        if body is None:
            return
        updated = method == _UPDATED
        streams = link.uris.get(_subject_of(params).uri, set()) if updated else link.streams
        watchers = {stream.watcher for stream in streams}
        session = self.sessions.get(link.audience.session)
        if session is not None and not updated:
            watchers.add(session)
        for watcher in watchers:
            self._announce(watcher, method, body)

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
        if method in watcher.told:
            watcher.told[method] = [body]
            return
        if method in CHANGED:
            watcher.told[method] = []
            delay = self._relay.settings.changes_apart
            self._relay.later(delay, partial(self._announce_next, watcher, method))
        self._relay.at(watcher.machine).notify(method, body, **watcher.where)

    def _announce_next(self, watcher: Watcher, method: str) -> None:
        for body in watcher.told.pop(method):
            self._announce(watcher, method, body)

    def _announce_lists(self, watcher: Watcher, *targets: Target) -> None:
        """Tell a watcher that lists of servers may have changed."""
        for method, topic in _LIST_CHANGES.items():
            row, client = topic.row, watcher.audience.revision
            offered = any(target.offers(row.capability, client) for target in targets)
            if offered and (topic.field, "") in watcher.granted:
                self._announce(watcher, method, None)

    def lists_changed(self, *targets: Target) -> None:
        """Tell all watchers that the lists of servers have changed, as one is gone or back."""
        for watcher in [*self._streams.values(), *self.sessions.values()]:
            self._announce_lists(watcher, *targets)

    # Sessions of legacy clients

    def session_ready(self, machine: Downstream, event: events.Ready) -> None:
        """Begin to watch for a legacy client, which hears of changed lists unasked."""
        session, declared = (machine, event.session or ""), event.capabilities
        audience = Audience(event.principal, session, revision=event.revision)
        if isinstance(declared, ClientCapabilities):
            audience = structs.replace(audience, capabilities=declared)
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
        wanted = _LISTS | {(_URIS, uri) for uri in event.subscriptions}
        if watcher is None:
            declared, revision = event.capabilities, event.revision
            audience = Audience(event.principal, session, declared, revision)
            watcher = self._session_watcher(session, audience)
            watcher.wanted = wanted
            chosen = event.subscriptions
            self._watch_all(watcher, ListenState.REOPENING if chosen else ListenState.OPENING)
            return
        watcher.wanted = wanted
        for target in self._relay.targets.values():
            if not self._relay.sign_ins.lacks(target, watcher.audience.principal):
                work = partial(self._watch_anew, watcher, target)
                client, principal = watcher.audience.revision, watcher.audience.principal
                self._relay.conversations.when_known(target, client, work, principal=principal)

    def _watch_anew(self, watcher: Watcher, target: Target) -> None:
        """Ask a server for what a session has chosen elsewhere, and is about to choose here."""
        stream = watcher.streams.get(target.name)
        if stream is None:
            self._watch(watcher, target, ListenState.OPENING)
            return
        before, had = stream.items, stream.uris
        stream.items = self._part(watcher, watcher.wanted, target)
        if stream.modern:
            with suppress(LocalProtocolError):  # the worker where it was chosen hears of it
                self.listens.change(stream, stream.items)
            return
        uris, link = stream.uris, stream.link
        if not uris:
            stream.items = before
            self._close(watcher.streams.pop(target.name))
        elif link is not None and stream.state is not ListenState.REOPENING:  # else once it is open
            for uri in sorted(uris - had):
                self._join(stream, link, uri, void)
            self._unsubscribe(stream, link, had - uris)

    def session_ended(self, session: Session) -> None:
        """Stop watching for a session."""
        watcher = self.sessions.pop(session, None)
        if watcher is not None:
            self._leave(watcher)

    def _subscribe(self, arrival: Arrival, *, learned: bool = False) -> None:
        """Handle ``resources/subscribe`` or its opposite, which the engine answers if admitted."""
        outer = _subject_of(arrival.event.params).uri
        for target in self._relay.targets.values():
            uri = self._inward(target, outer)
            if uri is not None and self._relay.sign_ins.lacks(target, arrival.event.principal):
                self._relay.fail(arrival, self._relay.sign_ins.refusal(target))
                return
            if uri is not None:
                work = partial(self._subscribed, target, arrival, uri)
                within = self._relay.settings.list_timeout
                client = arrival.event.revision
                self._relay.conversations.when_known(target, client, work, arrival, within=within)
                return
        again = partial(self._subscribe, arrival, learned=True)
        if learned or not self._relay.lists.learn(arrival, again):
            self._relay.unknown(arrival)

    def _subscribed(self, target: Target, arrival: Arrival, uri: str) -> None:
        relay, method, audience = self._relay, arrival.event.method, arrival.audience
        if target.greeted(audience.revision) is None:
            relay.fail(arrival, target.unreachable)
            return
        watcher = self.sessions.get(audience.session)
        if watcher is None:
            relay.refuse(arrival, INTERNAL_ERROR, "the session is not open")
            return
        if not target.modern_for(audience.revision):
            try:
                link = relay.conversations.link(target, audience)
            except LocalProtocolError as error:
                relay.refuse(arrival, INTERNAL_ERROR, str(error))
                return
            take = partial(self._noted, arrival, watcher, link, uri)
            watchers = {stream.watcher for stream in link.uris.get(uri, ())}
            if method == _UNSUBSCRIBE and watchers - {watcher}:
                take(_EMPTY)  # others who share the conversation go on
            else:
                relay.ask(link, method, {"uri": uri}, take)
            return
        stream = watcher.streams.get(target.name)
        if stream is None:
            stream = Stream(watcher, target, self._part(watcher, _LISTS, target))
            self._open_stream(stream)
        items = frozenset({(_URIS, uri)})
        if method == _UNSUBSCRIBE:
            stream.items -= items
            self.listens.remove(stream, items, frozenset())
            self._answer(arrival, None)
            return
        try:
            new = not any(items <= held for held in stream.feeds.values())
            self.listens.add(stream, items, partial(self._listened, arrival, stream, items, new))
        except LocalProtocolError as error:
            relay.refuse(arrival, INTERNAL_ERROR, str(error))

    def _listened(
        self,
        arrival: Arrival,
        stream: Stream,
        items: frozenset[Item],
        new: bool,
        outcome: frozenset[Item] | ErrorData,
    ) -> None:
        """Answer a subscription of a legacy client at a modern server."""
        error = outcome if isinstance(outcome, ErrorData) else None
        if not self._answer(arrival, error) and new:
            self.listens.remove(stream, items, frozenset())

    def _noted(
        self, arrival: Arrival, watcher: Watcher, link: UpstreamLink, uri: str, outcome: Outcome
    ) -> None:
        """Answer a subscription as the legacy server did, and note it for the next conversation."""
        if isinstance(outcome, ErrorData):
            self._answer(arrival, outcome)
            return
        name = link.target.name
        stream = watcher.streams.get(name)
        if stream is None:
            part = self._part(watcher, _LISTS, link.target)
            stream = Stream(watcher, link.target, part, link=link, state=ListenState.OPEN)
        active = arrival.event.method == _SUBSCRIBE
        new = uri not in stream.uris
        self._without(stream, link, uri)
        if active:
            watcher.streams[name] = stream
            stream.items |= {(_URIS, uri)}
            if stream.link is not None:
                stream.link.streams.add(stream)
                stream.link.uris.setdefault(uri, set()).add(stream)
        elif name in watcher.streams and not stream.uris:
            self._close(watcher.streams.pop(name))
        if watcher.ended:  # meanwhile; others may share the conversation
            self._leave(watcher)
        if self._answer(arrival, None) or not (active and new):
            return
        if stream.uris == {uri} and name in watcher.streams:
            self._close(watcher.streams.pop(name))
        elif stream.link is not None:
            self._unsubscribe(stream, stream.link, [uri])

    # Streams

    def _open_stream(self, stream: Stream) -> None:
        relay, watcher, target = self._relay, stream.watcher, stream.target
        watcher.streams[target.name] = stream
        try:
            if stream.modern:
                self.listens.add(stream, stream.items, partial(self._taken, stream))
                return
            stream.link = link = relay.conversations.link(target, watcher.audience)
        except LocalProtocolError:
            self._stream_over(stream)
            return
        link.streams.add(stream)
        link.open()
        if link.greeted or stream.state is ListenState.OPENING:
            self._subscribe_all(stream, link)

    def _taken(self, stream: Stream, outcome: frozenset[Item] | ErrorData) -> None:
        """Take what a modern server announces of a stream."""
        if isinstance(outcome, ErrorData):
            self._stream_over(stream)
        else:
            self._open(stream, outcome)

    def _open(self, stream: Stream, announced: frozenset[Item]) -> None:
        """Note what a server will announce."""
        again = stream.state is ListenState.REOPENING
        if not stream.move(ListenSignal.ACKNOWLEDGE):
            return
        stream.failures = 0
        if again:
            for item in sorted(stream.items):
                self._item_changed(item, [stream])
        else:
            self._granted(stream.watcher, self._outward(stream, announced))

    def _answer(self, arrival: Arrival, error: ErrorData | None) -> bool:
        """Answer a request about a subscription; False if it fails or was cancelled meanwhile."""
        if error is None:
            return self._relay.at(arrival.machine).admit(arrival.event.key)
        self._relay.fail(arrival, error)
        return False

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

    def notified(self, link: UpstreamLink, event: events.SubscriptionNotification) -> None:
        """Pass on a change that a modern server announces."""
        listen = link.listens.get(event.request)
        body = self._body(link.target, link.audience.revision, event.method, event.params)
        if listen is not None and body is not None:
            for stream in self.listens.streams(listen, event.method, event.params):
                tasks, name = stream.watcher.tasks, link.target.name
                own = on_text(partial(_id_of, tasks, name))
                self._announce(stream.watcher, event.method, rewrite(body, _TASK_ID, own))

    def _stream_over(self, stream: Stream) -> None:
        """Handle the end of a server's stream: it is opened again unless its client gave it up.

        A listen stream of a client opens without the servers that open none for it.
        """
        self._detach(stream)
        watcher, opening = stream.watcher, stream.state is ListenState.OPENING
        if watcher.streams.get(stream.target.name) is not stream:
            return
        if opening and (watcher.key is not None or not stream.modern):
            stream.move(ListenSignal.CLOSE)
            del watcher.streams[stream.target.name]
            self._granted(watcher, frozenset())
        elif stream.move(ListenSignal.LOSE):
            delay = stream.delay(self._relay.settings.listen_delay)
            self._relay.later(delay, partial(self._reopen, stream))

    def _reopen(self, stream: Stream) -> None:
        target = stream.target
        if stream.watcher.streams.get(target.name) is not stream:
            return
        if target.greeted(stream.watcher.audience.revision) is None:  # it is being asked for
            delay = stream.delay(self._relay.settings.listen_delay)
            self._relay.later(delay, partial(self._reopen, stream))
        elif stream.move(ListenSignal.REOPEN):
            self._open_stream(stream)

    def _close(self, stream: Stream) -> None:
        stream.move(ListenSignal.CLOSE)
        over = ErrorData.make(INTERNAL_ERROR, "the session has ended")
        self.listens.remove(stream, None, over)
        link = self._detach(stream)
        if link is not None and not link.ended:
            self._unsubscribe(stream, link, stream.uris)

    def _detach(self, stream: Stream) -> UpstreamLink | None:
        """Take a stream out of its conversation with a legacy server, which is returned."""
        link, stream.link = stream.link, None
        if link is not None:
            link.streams.discard(stream)
        return link


def _id_of(tasks: Mapping[tuple[str, str], str], server: str, id: str) -> str | None:
    """Return the id that a client knows of a task of a server."""
    return tasks.get((server, id))
