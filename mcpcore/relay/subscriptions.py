"""Changes that servers announce, on their way to the clients that want to hear of them.

A client that wants changes is a watcher: the listen stream of a modern client, or the session of a
legacy one.  A modern server has a listen stream for each watcher, which is replaced, the new one
before the old one ends, when a session subscribes to something else; a legacy server has
subscriptions that its watchers share.

Source: the subscriptions page of 2026-07-28; the resources page of 2025-11-25.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct, structs

from mcpcore.engine import events
from mcpcore.engine.events import Key, RequestReceived
from mcpcore.engine.lifecycle import State, Table
from mcpcore.engine.subscriptions import TOPICS, narrowed
from mcpcore.relay.link import ONLY, Audience, LinkState, Outcome, Target, UpstreamLink, moved, void
from mcpcore.relay.lists import CHANGED
from mcpcore.relay.names import NameKind
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData, LocalProtocolError
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.lifecycle import SubscriptionFilter, SubscriptionsListenParams
from mcpcore.wire.message import RequestId, to_json

if TYPE_CHECKING:  # a type alone: it owns this part
    from mcpcore.relay.relay import Relay

_LISTEN = "subscriptions/listen"
_SUBSCRIBE, _UNSUBSCRIBE = "resources/subscribe", "resources/unsubscribe"
_UPDATED = "notifications/resources/updated"
_LIST_CHANGES = {name: TOPICS[name] for name in CHANGED}
_LISTS = SubscriptionFilter(**{topic.field: True for topic in _LIST_CHANGES.values()})  # type: ignore[arg-type]

_members_of = msgspec.json.Decoder(dict[str, Raw]).decode
_listen_of = msgspec.json.Decoder(SubscriptionsListenParams).decode


class _Subject(Struct):
    uri: str


_subject_of = msgspec.json.Decoder(_Subject).decode


class ListenState(State):
    """States of a listen stream of a server for one watcher."""

    OPENING = "opening"
    """Waiting for the acknowledgement of the server."""
    OPEN = "open"
    LOST = "lost"
    """Waiting for a moment before it is opened again."""
    REOPENING = "reopening"
    """Changes may have been missed."""
    ENDED = "ended"


class ListenSignal(State):
    """Signals that move a listen stream of a server."""

    ACKNOWLEDGE = "acknowledged"
    LOSE = "ended by the server"
    REOPEN = "delay is over"
    CLOSE = "replaced, or of no use to its watcher"


LISTEN: Table[ListenState, ListenSignal] = {
    (ListenState.OPENING, ListenSignal.ACKNOWLEDGE): ListenState.OPEN,
    (ListenState.OPENING, ListenSignal.LOSE): ListenState.ENDED,
    (ListenState.OPEN, ListenSignal.LOSE): ListenState.LOST,
    (ListenState.LOST, ListenSignal.REOPEN): ListenState.REOPENING,
    (ListenState.REOPENING, ListenSignal.ACKNOWLEDGE): ListenState.OPEN,
    (ListenState.REOPENING, ListenSignal.LOSE): ListenState.LOST,
    **{(state, ListenSignal.CLOSE): ListenState.ENDED for state in ListenState},
}
DIAGRAMS = (
    (
        "Stream of changes of a relay",
        "`Stream.state`: a listen stream of a modern server for one client.",
        LISTEN,
    ),
)
"""Title, text and table of each diagram."""


class Watcher(Struct, eq=False):
    """Client that wants to hear of changes."""

    audience: Audience
    key: Key | None
    """Listen stream; None for a session."""
    filter: SubscriptionFilter
    """Changes that the client wants, with the names that it uses."""
    granted: SubscriptionFilter = msgspec.field(default_factory=SubscriptionFilter)
    """Changes that servers announce, by the same names."""
    left: int = 0
    """Answers of servers that are awaited before a listen stream opens."""
    streams: dict[str, "Stream"] = {}
    """Listen streams of modern servers, by server."""
    links: list[UpstreamLink] = []
    """Conversations with legacy servers in which it watches."""
    told: dict[str, list[Raw | None]] = {}
    """Changes of lists that were announced a moment ago, each with the params of the next one."""
    ended: bool = False


class Stream(Struct, eq=False):
    """Listen stream of a modern server for one watcher."""

    watcher: Watcher
    target: Target
    filter: SubscriptionFilter
    request: RequestId | None = None
    link: UpstreamLink | None = None
    before: "Stream | None" = None
    """Stream that this one replaces, until it is acknowledged."""
    keys: list[Key] = []
    """Requests of a legacy client that wait for the acknowledgement."""
    failures: int = 0
    state: ListenState = ListenState.OPENING


class Subscriptions:
    """Part of a relay that knows the watchers."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._streams: dict[Key, Watcher] = {}
        self.sessions: dict[str | None, Watcher] = {}
        """Watchers that are sessions of legacy clients, while they are open."""

    # Requests of clients

    def takes(self, event: RequestReceived) -> bool:
        """Handle a request about changes; False for any other.  Raises msgspec.MsgspecError."""
        if event.method == _LISTEN:
            self._listen(event)
        elif event.method in (_SUBSCRIBE, _UNSUBSCRIBE):
            self._subscribe(event)
        else:
            return False
        return True

    def _listen(self, event: RequestReceived) -> None:
        """Open a listen stream of a modern client once every server has answered."""
        wanted = _listen_of(event.params).notifications
        watcher = Watcher(self._relay.audience_of(event), event.key, wanted)
        self._streams[event.key] = watcher
        watcher.left = len(self._relay.targets)
        self._watch_all(watcher)

    def _watch_all(self, watcher: Watcher) -> None:
        for target in self._relay.targets.values():
            self._relay.when_known(target, partial(self._watch, watcher, target))

    def _watch(self, watcher: Watcher, target: Target) -> None:
        """Ask one server for the part of a filter that it can announce."""
        part = self._part(watcher.filter, target)
        if watcher.ended or target.greeting is None or part == SubscriptionFilter():
            self._granted(watcher, SubscriptionFilter())
        elif target.modern:
            self._open_stream(Stream(watcher, target, part))
        elif watcher.key is not None:  # a session hears of lists in its own conversation
            self._join(watcher, target, part)

    def _part(self, wanted: SubscriptionFilter, target: Target) -> SubscriptionFilter:
        """Return the part of a filter for one server, by its own names."""
        fields: dict[str, Any] = {}
        for topic in TOPICS.values():
            value = getattr(wanted, topic.field)
            if topic.subject == "uri":
                value = [uri for uri in map(partial(self._inward, target), value) if uri]
            elif topic.subject is not None and len(self._relay.targets) > 1:
                continue
            if value and target.offers(topic.row.capability):
                fields[topic.field] = value
        return SubscriptionFilter(**fields)

    def _inward(self, target: Target, uri: str) -> str | None:
        names = self._relay.names
        if names.plain:
            return uri
        found = names.inward(NameKind.URI, uri) or names.owner_of_uri(uri)
        return found[1] if found is not None and found[0] == target.name else None

    def _outward(self, target: Target, filter: SubscriptionFilter) -> SubscriptionFilter:
        uris = filter.resource_subscriptions
        named = [self._relay.names.outward(NameKind.URI, target.name, uri) for uri in uris]
        return structs.replace(filter, resource_subscriptions=[uri for uri in named if uri])

    def _granted(self, watcher: Watcher, part: SubscriptionFilter) -> None:
        """Note what a server announces; open the client's stream after the last answer."""
        watcher.granted = _union(watcher.granted, part)
        if watcher.key is None or not watcher.left:
            return
        watcher.left -= 1
        if not watcher.left and not watcher.ended:
            self._relay.downstream.admit(watcher.key)

    def opened(self, event: events.SubscriptionOpened) -> None:
        """Restrict a stream that has opened to what the servers announce."""
        watcher = None if event.admitted is None else self._streams.pop(event.admitted, None)
        if watcher is not None:
            watcher.key = event.key
            self._streams[event.key] = watcher
            self._relay.downstream.narrow(event.key, narrowed(event.filter, watcher.granted))

    def closed(self, key: Key) -> None:
        """Stop watching for a stream that has ended, or was given up before it opened."""
        watcher = self._streams.pop(key, None)
        if watcher is not None:
            self._leave(watcher)
            self._relay.downstream.release(key)

    def _leave(self, watcher: Watcher) -> None:
        watcher.ended = True
        for stream in watcher.streams.values():
            self._close(stream)
        watcher.streams.clear()
        for link in watcher.links:
            link.watchers.discard(watcher)
            for uri, watchers in list(link.uris.items()):
                watchers.discard(watcher)
                if not watchers:
                    del link.uris[uri]
                    if not link.ended:
                        self._relay.ask(link, _UNSUBSCRIBE, {"uri": uri}, void)
            self._relay.watch(link)

    # Legacy servers

    def _join(self, watcher: Watcher, target: Target, part: SubscriptionFilter) -> None:
        """Let the stream of a modern client watch in a conversation with a legacy server."""
        try:
            link = self._relay.link(target, watcher.audience)
        except LocalProtocolError:
            self._granted(watcher, SubscriptionFilter())
            return
        link.open()
        watcher.links.append(link)
        link.watchers.add(watcher)
        uris = part.resource_subscriptions
        watcher.left += len(uris)
        self._granted(watcher, structs.replace(part, resource_subscriptions=[]))
        for uri in uris:
            link.uris.setdefault(uri, set()).add(watcher)
            take = partial(self._joined, watcher, link, uri)
            self._relay.ask(link, _SUBSCRIBE, {"uri": uri}, take)

    def _joined(self, watcher: Watcher, link: UpstreamLink, uri: str, outcome: Outcome) -> None:
        """Take the answer of a legacy server to a subscription for a stream."""
        part = SubscriptionFilter()
        if isinstance(outcome, Raw):
            part = self._outward(link.target, SubscriptionFilter(resource_subscriptions=[uri]))
        else:
            link.uris.get(uri, set()).discard(watcher)
        self._granted(watcher, part)

    def lost(self, link: UpstreamLink) -> None:
        """Watch again, a moment after a conversation with a legacy server has ended."""
        if link.uris or link.watchers:
            self._relay.later(self._delay(link.failures), partial(self._rejoin, link))

    def _delay(self, failures: int) -> float:
        return float(self._relay.settings.listen_delay * 2 ** min(failures, 6))

    def _rejoin(self, old: UpstreamLink) -> None:
        """Move the watchers of a conversation that has ended to the next one."""
        relay, target = self._relay, old.target
        try:
            link = relay.link(target, old.audience)
        except LocalProtocolError:
            return
        link.watchers |= old.watchers
        for watcher in old.watchers.union(*old.uris.values()):
            watcher.links = [link if each is old else each for each in watcher.links]
        for uri, watchers in old.uris.items():
            link.uris.setdefault(uri, set()).update(watchers)
        if link.state is LinkState.OPEN:
            self.restore(link)
        else:
            link.failures = old.failures + 1
            link.open()

    def restore(self, link: UpstreamLink) -> None:
        """Subscribe again at a legacy server; tell the watchers that all may have changed."""
        for watcher in self._watchers(link):
            self._announce_lists(watcher, watcher.granted, link.target)
        for uri in link.uris:
            self._relay.ask(link, _SUBSCRIBE, {"uri": uri}, void)
            self.told(link, _UPDATED, Raw(to_json({"uri": uri})))

    def _watchers(self, link: UpstreamLink) -> set[Watcher]:
        """Return who hears of changed lists in a conversation with a legacy server."""
        session = self.sessions.get(link.audience.session)
        return link.watchers if session is None else {*link.watchers, session}

    def told(self, link: UpstreamLink, method: str, params: Raw) -> None:
        """Pass on a change that a legacy server announces."""
        body = self._body(link.target, method, params)
        if body is None:
            return
        watchers = self._watchers(link)
        if method == _UPDATED:
            watchers = link.uris.get(_subject_of(params).uri, set())
        for watcher in list(watchers):
            self._announce(watcher, method, body)

    def _body(self, target: Target, method: str, params: Raw) -> Raw | None:
        """Return the params of a change by the clients' names, without the id of a stream.

        None if it is to be told to nobody.  The list that has changed is not kept any longer.
        """
        if method in CHANGED:
            self._relay.lists.forget(target, CHANGED[method])
            if not target.offers(TOPICS[method].row.capability):
                return None
        try:
            if META_SUBSCRIPTION_ID.encode() in bytes(params):
                members = _members_of(params)
                meta = _members_of(members.pop("_meta"))
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
        if watcher.key is None:
            where = self._relay.to_session(watcher.audience.session)
            self._relay.downstream.notify(method, body, **where)
        else:
            self._relay.downstream.notify(method, body, parent=watcher.key)

    def _announce_next(self, watcher: Watcher, method: str) -> None:
        for body in watcher.told.pop(method):
            self._announce(watcher, method, body)

    def _announce_lists(self, watcher: Watcher, part: SubscriptionFilter, target: Target) -> None:
        """Tell a watcher that the lists of a server, those in ``part``, may have changed."""
        for method, topic in _LIST_CHANGES.items():
            if getattr(part, topic.field) and target.offers(topic.row.capability):
                self._announce(watcher, method, None)

    def lists_changed(self, target: Target) -> None:
        """Tell all watchers that the lists of a server have changed, as it is gone or back."""
        for watcher in [*self._streams.values(), *self.sessions.values()]:
            self._announce_lists(watcher, watcher.granted, target)

    # Sessions of legacy clients

    def session_ready(self, event: events.Ready) -> None:
        """Begin to watch for a legacy client, which hears of changed lists unasked."""
        session, declared = event.session or ONLY, event.capabilities
        audience = Audience(event.principal, session)
        if isinstance(declared, ClientCapabilities):
            audience = structs.replace(audience, capabilities=declared)
        watcher = self.sessions[session] = Watcher(audience, None, _LISTS, _LISTS)
        self._watch_all(watcher)

    def session_ended(self, session: str) -> None:
        """Stop watching for a session."""
        watcher = self.sessions.pop(session, None)
        if watcher is not None:
            self._leave(watcher)

    def _subscribe(self, event: RequestReceived) -> None:
        """Handle ``resources/subscribe`` or its opposite, which the engine answers if admitted."""
        outer = _subject_of(event.params).uri
        for target in self._relay.targets.values():
            uri = self._inward(target, outer)
            if uri is not None:
                self._relay.when_known(target, partial(self._subscribed, target, event, uri))
                return
        self._relay.unknown(event)

    def _subscribed(self, target: Target, event: RequestReceived, uri: str) -> None:
        relay = self._relay
        if target.greeting is None:
            relay.downstream.fail(event.key, target.unreachable)
            return
        audience = relay.audience_of(event)
        watcher = self.sessions.get(audience.session)
        if watcher is None:
            relay.refuse(event.key, INTERNAL_ERROR, "the session is not open")
            return
        if not target.modern:
            try:
                link = relay.link(target, audience)
            except LocalProtocolError as error:
                relay.refuse(event.key, INTERNAL_ERROR, str(error))
                return
            if event.method == _UNSUBSCRIBE and link.uris.get(uri, set()) - {watcher}:
                link.uris[uri].discard(watcher)  # others who share the conversation go on
                relay.downstream.admit(event.key)
                return
            take = partial(self._answer, event, watcher, link, uri)
            relay.ask(link, event.method, {"uri": uri}, take)
            return
        before, keys = watcher.streams.get(target.name), [event.key]
        uris = [] if before is None else before.filter.resource_subscriptions
        uris = [each for each in uris if each != uri]
        if event.method == _SUBSCRIBE:
            uris.append(uri)
        if before is not None:
            keys, before.keys = [*before.keys, *keys], []
        part = structs.replace(self._part(_LISTS, target), resource_subscriptions=uris)
        self._open_stream(Stream(watcher, target, part, before=before, keys=keys))

    def _answer(
        self,
        event: RequestReceived,
        watcher: Watcher,
        link: UpstreamLink,
        uri: str,
        outcome: Outcome,
    ) -> None:
        """Answer a subscription as the legacy server did, and note it for the next conversation."""
        if isinstance(outcome, ErrorData):
            self._relay.downstream.fail(event.key, outcome)
            return
        if event.method == _SUBSCRIBE:
            link.uris.setdefault(uri, set()).add(watcher)
            if link.audience.session is None and link not in watcher.links:
                watcher.links.append(link)  # it outlives the session
        else:
            link.uris.pop(uri, None)
        self._relay.downstream.admit(event.key)

    # Listen streams of modern servers

    def _open_stream(self, stream: Stream) -> None:
        relay, watcher = self._relay, stream.watcher
        watcher.streams[stream.target.name] = stream
        take = partial(self._stream_over, stream)
        try:
            stream.link = link = relay.link(stream.target, watcher.audience)
        except LocalProtocolError as error:
            take(ErrorData.make(INTERNAL_ERROR, str(error)))
            return
        declared = watcher.audience.capabilities
        filter = {"notifications": stream.filter}
        stream.request = relay.ask(link, _LISTEN, filter, take, capabilities=declared)
        if stream.request is not None:
            link.listens[stream.request] = stream

    def acknowledged(self, link: UpstreamLink, event: events.SubscriptionAcknowledged) -> None:
        """Note what a server will announce; end the stream that this one replaces."""
        stream = link.listens.get(event.request)
        again = stream is not None and stream.state is ListenState.REOPENING
        if stream is None or not moved(LISTEN, stream, ListenSignal.ACKNOWLEDGE):
            return
        stream.failures = 0
        before, stream.before = stream.before, None
        if before is not None:
            self._close(before)
        for key in self._take_keys(stream):
            self._relay.downstream.admit(key)
        if again:
            self._may_have_changed(stream)
        else:
            self._granted(stream.watcher, self._outward(stream.target, event.filter))

    def _take_keys(self, stream: Stream) -> list[Key]:
        keys, stream.keys = stream.keys, []
        return keys

    def _may_have_changed(self, stream: Stream) -> None:
        """Announce all that a stream carries, as something may have been missed."""
        target = stream.target
        self._announce_lists(stream.watcher, stream.filter, target)
        for uri in stream.filter.resource_subscriptions:
            body = self._body(target, _UPDATED, Raw(to_json({"uri": uri})))
            if body is not None:
                self._announce(stream.watcher, _UPDATED, body)

    def notified(self, link: UpstreamLink, event: events.SubscriptionNotification) -> None:
        """Pass on a change that a modern server announces."""
        stream = link.listens.get(event.request)
        body = self._body(link.target, event.method, event.params)
        if stream is not None and body is not None:
            self._announce(stream.watcher, event.method, body)

    def _stream_over(self, stream: Stream, outcome: Outcome) -> None:
        """Handle the end of a server's stream: it is opened again unless it never was."""
        if stream.link is not None and stream.request is not None:
            stream.link.listens.pop(stream.request, None)
        stream.link = None
        moved(LISTEN, stream, ListenSignal.LOSE)
        if stream.watcher.streams.get(stream.target.name) is not stream:
            return  # the one that replaces it goes on
        if stream.state is ListenState.LOST:
            self._reopen_later(stream)
            return
        watcher, before = stream.watcher, stream.before  # the server does not open the stream
        del watcher.streams[stream.target.name]
        if before is not None:
            watcher.streams[stream.target.name] = before
            if before.state is ListenState.LOST:
                self._reopen_later(before)
        error = stream.target.error("no stream of changes")
        for key in self._take_keys(stream):
            self._relay.downstream.fail(key, outcome if isinstance(outcome, ErrorData) else error)
        self._granted(watcher, SubscriptionFilter())

    def _reopen_later(self, stream: Stream) -> None:
        delay = self._delay(stream.failures)
        stream.failures += 1
        self._relay.later(delay, partial(self._reopen, stream))

    def _reopen(self, stream: Stream) -> None:
        current = stream.watcher.streams.get(stream.target.name)
        if current is stream and moved(LISTEN, stream, ListenSignal.REOPEN):
            self._open_stream(stream)

    def _close(self, stream: Stream) -> None:
        moved(LISTEN, stream, ListenSignal.CLOSE)
        for key in self._take_keys(stream):
            self._relay.refuse(key, INTERNAL_ERROR, "the session has ended")
        if stream.before is not None:
            self._close(stream.before)
        link, stream.link = stream.link, None
        if link is not None and stream.request is not None:
            link.listens.pop(stream.request, None)
            link.pending.pop(stream.request, None)
            link.peer.cancel(stream.request, now=self._relay.now)


def _union(one: SubscriptionFilter, other: SubscriptionFilter) -> SubscriptionFilter:
    """Return what either filter asks for."""
    fields: dict[str, Any] = {}
    for name in one.__struct_fields__:
        ours, theirs = getattr(one, name), getattr(other, name)
        fields[name] = [*ours, *theirs] if isinstance(ours, list) else ours or theirs
    return SubscriptionFilter(**fields)
