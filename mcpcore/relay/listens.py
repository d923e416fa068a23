"""Changes of servers, each asked for on behalf of all watchers that may share it.

A feed asks a server for what its watchers want together, and passes each change on to those that
want it.  At a modern server it is a listen stream: when the watchers want something else it is
replaced, the new one before the old one ends, and what the server refuses, as too much or as
unfit, gets a feed of its own.  At a legacy server it is the subscriptions of a conversation.

Source: the subscriptions page of 2026-07-28; the resources page of 2025-11-25.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine import events
from mcpcore.engine.lifecycle import State, Table, step
from mcpcore.engine.reconnection import grown
from mcpcore.engine.subscriptions import TOPICS, change_of
from mcpcore.relay.link import Audience, Outcome, Target, UpstreamLink, void
from mcpcore.relay.rewriting import encode
from mcpcore.spec.errors import ErrorData, LocalProtocolError
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.lifecycle import SubscriptionFilter
from mcpcore.wire.message import RequestId

if TYPE_CHECKING:  # types alone: they own this part
    from mcpcore.relay.relay import Relay
    from mcpcore.relay.subscriptions import Stream

Item = tuple[str, str]
"""Field of a filter, and one of the subjects that it lists; "" in a field without subjects."""
Taking = Callable[["frozenset[Item] | ErrorData"], None]
"""Function that takes what a server announces of the items that were asked for, or its error."""
_LISTEN = "subscriptions/listen"
_SUBSCRIBE, _UNSUBSCRIBE = "resources/subscribe", "resources/unsubscribe"
URIS = "resource_subscriptions"
"""Field of a filter with the resources that a legacy server is asked about."""
_LONGEST_DELAY = 64.0
"""Maximum delay before another attempt, as a multiple of the first."""
_SUBJECTS = 1000
"""Maximum items of a feed, which servers may limit, but for those of its first watcher."""
SUBJECT_FIELDS = frozenset(topic.field for topic in TOPICS.values() if topic.subject is not None)
"""Fields of a filter that list subjects."""


def items_of(filter: SubscriptionFilter) -> frozenset[Item]:
    """Return the items of a filter."""
    items: set[Item] = set()
    for field in filter.__struct_fields__:
        value = getattr(filter, field)
        subjects = value if isinstance(value, list) else [""] if value else []
        items |= {(field, each) for each in subjects}
    return frozenset(items)


def filter_of(items: Iterable[Item]) -> SubscriptionFilter:
    """Return the filter with some items."""
    fields: dict[str, Any] = {}
    for field, subject in sorted(items):
        if field in SUBJECT_FIELDS:
            fields.setdefault(field, []).append(subject)
        else:
            fields[field] = True
    return SubscriptionFilter(**fields)


class ListenState(State):
    """States of a stream of changes of a server."""

    OPENING = "opening"
    """Waiting for the acknowledgement of the server, or its answers to subscriptions."""
    OPEN = "open"
    LOST = "lost"
    """Waiting for a moment before it is opened again."""
    REOPENING = "reopening"
    """Changes may have been missed."""
    ENDED = "ended"


class ListenSignal(State):
    """Signals that move a stream of changes of a server."""

    ACKNOWLEDGE = "acknowledged"
    LOSE = "ended by the server, or not opened"
    REOPEN = "delay is over"
    CLOSE = "of no use to anybody"


LISTEN: Table[ListenState, ListenSignal] = {
    (ListenState.OPENING, ListenSignal.ACKNOWLEDGE): ListenState.OPEN,
    (ListenState.OPENING, ListenSignal.LOSE): ListenState.LOST,
    (ListenState.OPEN, ListenSignal.LOSE): ListenState.LOST,
    (ListenState.LOST, ListenSignal.REOPEN): ListenState.REOPENING,
    (ListenState.REOPENING, ListenSignal.ACKNOWLEDGE): ListenState.OPEN,
    (ListenState.REOPENING, ListenSignal.LOSE): ListenState.LOST,
    **{(state, ListenSignal.CLOSE): ListenState.ENDED for state in ListenState},
}
DIAGRAMS = (
    (
        "Stream of changes of a relay",
        "`Feed.state`: changes of a server for all clients that may share them.",
        LISTEN,
    ),
)
"""Title, text and table of each diagram."""


class Claim(Struct, eq=False):
    """Items that a watcher's stream waits for."""

    stream: "Stream"
    items: frozenset[Item]
    new: frozenset[Item]
    """Items that the stream did not have before."""
    takes: list[tuple[frozenset[Item], Taking]]
    """Items that were asked for together, and who is told of them."""
    until: float
    """Time after which no other feed is tried."""
    refused_by: list["Feed"] = []
    """Feeds to which the server has not added them, with others or alone."""
    alone: "Feed | None" = None
    """Last of these feeds, if they were alone."""

    def settle(
        self, outcome: "frozenset[Item] | ErrorData", left: frozenset[Item] = frozenset()
    ) -> None:
        """Pass on the outcome, but to nobody who waits for items that are ``left``."""
        over = [take for items, take in self.takes if not items & left]
        self.takes = [each for each in self.takes if each[0] & left]
        for take in over:
            take(outcome)


class FeedRequest(Struct, eq=False):
    """Request of a feed that listens, or its subscriptions in a conversation."""

    feed: "Feed"
    link: UpstreamLink
    asked: frozenset[Item] = frozenset()
    granted: frozenset[Item] = frozenset()
    request: RequestId | None = None
    """Id at a modern server."""
    waiting: set[Item] = set()
    """Resources about which a legacy server has yet to answer."""


class Feed(Struct, eq=False):
    """Changes of a server for all watchers that may share them."""

    target: Target
    audience: Audience
    capabilities: ClientCapabilities
    """Capabilities that the clients declare."""
    modern: bool
    """True if the server is modern for them."""
    place: tuple[Any, ...]
    """Place among the feeds, by conversation and capabilities."""
    state: ListenState = ListenState.OPENING
    failures: int = 0
    """Attempts in a row to open it that have failed."""
    wanted: dict[Item, set["Stream"]] = {}
    """Streams of watchers by what they want."""
    callers: Counter[Hashable] = msgspec.field(default_factory=Counter)
    """Number of streams by the caller of their watchers."""
    claims: list[Claim] = []
    """Claims that the server has yet to grant."""
    current: FeedRequest | None = None
    next: FeedRequest | None = None
    """Request that replaces the current one once it is acknowledged."""
    full: bool = False
    """True if the server has not added what it granted elsewhere."""
    due: float = 0.0
    """Time at which a lost one is opened again."""

    def takes(self, claim: Claim) -> bool:
        """Return True if a claim may be added."""
        more = self.modern and sum(item not in self.wanted for item in claim.items)
        room = not self.full and len(self.wanted) + more <= _SUBJECTS
        return (room or not more) and self not in claim.refused_by

    def move(self, signal: ListenSignal) -> bool:
        """Move to the next state; False if the signal means nothing in this one."""
        after = step(LISTEN, self.state, signal)
        self.state = after or self.state
        return after is not None


class Listens:
    """Part of the subscriptions of a relay that asks servers for changes.

    ``changed`` is told of an item that may have changed, and the streams that want it; ``left`` of
    a stream whose server is of another era now.
    """

    def __init__(
        self,
        relay: "Relay",
        changed: Callable[[Item, list["Stream"]], None],
        left: Callable[["Stream"], None],
    ) -> None:
        self._relay = relay
        self._changed = changed
        self._left = left
        self._feeds: dict[tuple[Any, ...], list[Feed]] = {}

    def add(self, stream: "Stream", items: frozenset[Item], take: Taking) -> None:
        """Let a stream have items too.

        Raises LocalProtocolError if there are too many conversations with the server.
        """
        if not items:
            take(items)
            return
        for claim in self._claims(stream):
            if items <= claim.items:
                claim.takes.append((items, take))
                return
        target, clients = stream.target, stream.watcher.audience
        link = self._relay.conversations.link(target, clients)
        audience, declared = link.audience, clients.capabilities
        whose = *target.party(audience.principal), audience.session, audience.revision.name
        until = self._relay.now + self._relay.settings.list_timeout
        claim = Claim(stream, items, items - stream.held, [(items, take)], until)
        place = target.name, *whose, encode(declared)
        self._claim(claim, Feed(target, audience, declared, link.modern, place))

    def _claim(self, claim: Claim, fresh: Feed) -> None:
        """Add a claim to the first feed that has room for it, or to a fresh one."""
        stream, feeds = claim.stream, self._feeds.get(fresh.place, [])
        holding = (each for each, held in stream.feeds.items() if claim.items <= held)
        had = (each for each in holding if each not in claim.refused_by)
        takes = (each for each in feeds if each.takes(claim))
        feed = next(had, None) or next(takes, fresh)
        if feed not in stream.feeds:
            caller = stream.watcher.caller
            if not feed.callers[caller] and self._is_full(fresh, caller):
                text = "too many listen streams of one caller are open"
                claim.settle(fresh.target.error(text))
                return
            feed.callers[caller] += 1
            stream.feeds[feed] = set()
        if feed is fresh:
            self._feeds[feed.place] = [*feeds, feed]
        stream.feeds[feed] |= claim.items
        for item in claim.items:
            feed.wanted.setdefault(item, set()).add(stream)
        feed.claims.append(claim)
        self._update(feed)

    def _is_full(self, fresh: Feed, caller: Hashable) -> bool:
        """Return True if a caller is on as many feeds of a server as it may be."""
        if fresh.audience.session is not None:
            return False
        feeds = (each for feeds in self._feeds.values() for each in feeds)
        own = [each for each in feeds if each.target is fresh.target and each.callers[caller]]
        return len(own) >= self._relay.settings.listens_per_principal

    def remove(self, stream: "Stream", items: frozenset[Item] | None, outcome: Any) -> None:
        """Take items, None for all, out of a stream; claims for them have an outcome."""
        for feed, held in list(stream.feeds.items()):
            gone = held if items is None else held & items
            over = [each for each in feed.claims if each.stream is stream and each.items & gone]
            if over:
                feed.claims = [each for each in feed.claims if each not in over]
            self._drop(feed, stream, gone)
            for claim in over:
                claim.settle(outcome)
            if feed.state is not ListenState.LOST or not feed.wanted:
                self._update(feed)

    def change(self, stream: "Stream", items: frozenset[Item]) -> None:
        """Let a stream have these items, and no others but those that it has just asked for.

        Raises LocalProtocolError as :meth:`add` does.
        """
        held, claimed = stream.held, (each.items for each in self._claims(stream))
        self.remove(stream, held.difference(items, *claimed), frozenset())
        self.add(stream, items - held, void)

    def _claims(self, stream: "Stream") -> list[Claim]:
        return [each for feed in stream.feeds for each in feed.claims if each.stream is stream]

    def _give_up(self, feed: Feed, claim: Claim) -> None:
        """Drop the new items of a claim, but for those that others of its stream wait for."""
        feed.claims = [each for each in feed.claims if each is not claim]
        gone = claim.new
        for other in feed.claims:
            if other.stream is claim.stream:
                other.new |= gone & other.items
                gone -= other.items
        self._drop(feed, claim.stream, gone)

    def _drop(self, feed: Feed, stream: "Stream", items: Iterable[Item]) -> None:
        held = stream.feeds.get(feed, set())
        for item in set(items) & held:
            held.discard(item)
            feed.wanted[item].discard(stream)
            if not feed.wanted[item]:
                del feed.wanted[item]
                feed.full = False
        if not held and stream.feeds.pop(feed, None) is not None:
            feed.callers[stream.watcher.caller] -= 1

    # Requests

    def _update(self, feed: Feed) -> None:
        """Ask for what is wanted, if that has changed; end a feed that nobody wants."""
        self._grant(feed)
        if feed.state is ListenState.ENDED:
            return
        if not feed.wanted:
            self._close(feed)
            return
        try:
            if feed.modern:
                self._listen(feed)
            else:
                self._subscribe(feed)
        except LocalProtocolError as error:
            self._refused(feed, frozenset(feed.wanted), feed.target.error(str(error)))

    def _listen(self, feed: Feed) -> None:
        """Open a listen stream for what is wanted, in place of the one before."""
        current, wanted, target = feed.current, feed.wanted.keys(), feed.target
        if feed.next is not None or (current is not None and current.asked == wanted):
            return
        link = self._relay.conversations.link(target, feed.audience)
        if len(link.listens) >= target.listens:
            if current is None or not target.listens:
                raise LocalProtocolError(f"busy: {target.listens} listen streams are open")
            if wanted <= current.asked:
                return  # what is wanted no longer may come all the same
            self._cancel(current)  # as there is no room for both at a time
            feed.current = None
            feed.move(ListenSignal.LOSE)
        feed.move(ListenSignal.REOPEN)
        feed.next = listen = FeedRequest(feed, link, frozenset(wanted))
        request = self._relay.ask(
            link,
            _LISTEN,
            {"notifications": filter_of(wanted)},
            partial(self._over, listen),
            capabilities=feed.capabilities,
        )
        if request is not None:
            listen.request = request
            link.listens[request] = listen

    def _subscribe(self, feed: Feed) -> None:
        """Subscribe at a legacy server to what is wanted, and to nothing else.

        A lost conversation is set up again once it has begun, but for those who wait already.
        """
        listen = feed.current
        if listen is None:
            link = self._relay.conversations.link(feed.target, feed.audience)
            feed.move(ListenSignal.REOPEN)
            feed.current = link.feed = listen = FeedRequest(feed, link)
            link.open()
        wanted, claimed = frozenset(feed.wanted), (each.items for each in feed.claims)
        if feed.state is ListenState.REOPENING and not listen.link.greeted:
            wanted &= listen.asked.union(*claimed)
        new, gone = wanted - listen.asked, listen.asked - wanted
        listen.asked = listen.granted = wanted
        self._unsubscribe(listen, gone)
        resources = sorted(item for item in new if item[0] == URIS)
        listen.waiting.update(resources)
        for item in resources:
            take = partial(self._answered, listen, item)
            self._relay.ask(listen.link, _SUBSCRIBE, {"uri": item[1]}, take)
        if not listen.waiting and listen.asked == feed.wanted.keys():
            self._opened(feed)
        self._grant(feed)

    def _answered(self, listen: FeedRequest, item: Item, outcome: Outcome) -> None:
        """Take the answer of a legacy server to a subscription."""
        feed = listen.feed
        if listen is not feed.current:
            return
        listen.waiting.discard(item)
        if isinstance(outcome, ErrorData):
            claims = [each for each in feed.claims if item in each.items]
            for claim in claims:
                self._drop(feed, claim.stream, claim.new & {item})
                claim.items -= {item}
                claim.new -= {item}
            if item not in feed.wanted:
                listen.asked -= {item}
            feed.claims = [each for each in feed.claims if each.items]
            for claim in claims:
                claim.settle(outcome, claim.items)
        if not listen.link.ended:
            self._update(feed)

    def _unsubscribe(self, listen: FeedRequest, items: Iterable[Item]) -> None:
        for field, uri in sorted(items):
            if field == URIS and not listen.link.ended:
                self._relay.ask(listen.link, _UNSUBSCRIBE, {"uri": uri}, void)

    def greeted(self, link: UpstreamLink, again: bool) -> None:
        """Subscribe at a legacy server that was away, or ``again`` as it has lost the session."""
        if link.feed is None:
            return
        feed: Feed = link.feed.feed
        if again and feed.move(ListenSignal.LOSE):
            feed.move(ListenSignal.REOPEN)
            feed.current = link.feed = FeedRequest(feed, link)
        self._update(feed)

    def lost(self, link: UpstreamLink) -> None:
        """Open a feed again that was part of a conversation with a legacy server."""
        if link.feed is not None:
            feed, link.feed = link.feed.feed, None
            feed.current = None
            self._refused(feed, frozenset(feed.wanted), feed.target.unreachable)

    def acknowledged(self, link: UpstreamLink, event: events.SubscriptionAcknowledged) -> None:
        """Take the acknowledgement of a server."""
        listen = link.listens.get(event.request)
        if listen is None or listen is not listen.feed.next:
            return
        feed, before = listen.feed, listen.feed.current
        feed.current, feed.next = listen, None
        listen.granted = items_of(event.filter) & listen.asked
        if before is not None:
            self._cancel(before)
        self._opened(feed)
        self._update(feed)

    def _opened(self, feed: Feed) -> None:
        """Note that a server announces what is wanted; of before it may have missed changes."""
        again, feed.failures = feed.state is ListenState.REOPENING, 0
        if feed.move(ListenSignal.ACKNOWLEDGE) and again:
            for item in sorted(feed.wanted):
                self._changed(item, list(feed.wanted[item]))

    def _grant(self, feed: Feed) -> None:
        """Announce what the server has granted, unless the next request leaves it out."""
        current, after = feed.current, feed.next
        if current is None or not feed.claims:
            return
        sure = current.asked - current.waiting
        if after is not None:
            sure &= after.asked
        granted = [each for each in feed.claims if each.items <= sure]
        feed.claims = [each for each in feed.claims if not each.items <= sure]
        for claim in granted:
            if claim.alone is not None:
                claim.alone.full = True
            claim.settle(claim.items & current.granted)

    def streams(self, listen: FeedRequest | None, method: str, params: Raw) -> list["Stream"]:
        """Return the streams that want a change which the server was to announce."""
        topic = TOPICS.get(method)
        if listen is None or topic is None:
            return []
        change = change_of(topic, params)
        item = change.topic.field, change.subject or ""
        return list(listen.feed.wanted.get(item, ())) if item in listen.granted else []

    def _over(self, listen: FeedRequest, outcome: Outcome) -> None:
        """Handle the end of a request: its feed goes on by another one, or later."""
        feed = listen.feed
        if listen.request is not None:
            listen.link.listens.pop(listen.request, None)
        if listen is feed.next:
            feed.next = None
            error = outcome if isinstance(outcome, ErrorData) else feed.target.error("it ended")
            self._refused(feed, listen.asked, error)
        elif listen is feed.current:
            feed.current = None
            feed.move(ListenSignal.LOSE)
            if feed.next is None:
                self._reopen_later(feed)
            else:
                feed.move(ListenSignal.REOPEN)

    def _refused(self, feed: Feed, asked: frozenset[Item], error: ErrorData) -> None:
        """Give up claims that the server has not granted.

        If it goes on with what it had granted, half of them are tried again, and the others, at
        last the only one, by another feed.
        """
        now, goes_on = self._relay.now, feed.current is not None
        kept, early, late = list[Claim](), list[Claim](), list[Claim]()
        for claim in feed.claims:
            refused = late if not goes_on or now >= claim.until else early
            (refused if claim.items <= asked else kept).append(claim)
        feed.claims, retried = early + kept, early[len(early) // 2 :]
        for claim in late + retried:
            self._give_up(feed, claim)
        if not goes_on:
            feed.move(ListenSignal.LOSE)
        for claim in late:
            claim.settle(error)
        for claim in retried:
            claim.items = claim.new
            claim.refused_by.append(feed)
            claim.alone = feed if len(early) == 1 else None
            if not claim.items:  # it is about nothing that the stream has not elsewhere
                claim.settle(claim.items)
                continue
            fresh = Feed(feed.target, feed.audience, feed.capabilities, feed.modern, feed.place)
            self._claim(claim, fresh)
        if feed.claims or not feed.wanted:
            self._update(feed)
        elif feed.state is ListenState.LOST:
            self._reopen_later(feed)

    def _reopen_later(self, feed: Feed) -> None:
        feed.due = self._relay.now + self.delay(feed.failures)
        feed.failures += 1
        self._relay.later(feed.due - self._relay.now, partial(self._reopen, feed, feed.due))

    def delay(self, failures: int) -> float:
        """Return the delay before another attempt, after some that have failed."""
        first = self._relay.settings.listen_delay
        return grown(first, 2.0, failures + 1, first * _LONGEST_DELAY)

    def _reopen(self, feed: Feed, due: float) -> None:
        if feed.state is not ListenState.LOST or feed.due != due:
            return
        if feed.target.greeted(feed.audience.revision) is None:  # it is being asked for
            self._reopen_later(feed)
            return
        for stream in {each for streams in feed.wanted.values() for each in streams}:
            spoken = feed.target.spoken(stream.watcher.audience.revision)
            if (stream.modern, spoken) != (feed.modern, feed.audience.revision):
                self._drop(feed, stream, stream.feeds[feed])
                self._left(stream)
        self._update(feed)

    def _close(self, feed: Feed) -> None:
        feed.move(ListenSignal.CLOSE)
        requests, feed.current, feed.next = (feed.current, feed.next), None, None
        for listen in requests:
            if listen is not None:
                self._cancel(listen)
        feeds = self._feeds[feed.place]
        feeds.remove(feed)
        if not feeds:
            del self._feeds[feed.place]

    def _cancel(self, listen: FeedRequest) -> None:
        link, request = listen.link, listen.request
        if link.feed is listen:
            link.feed = None
            self._unsubscribe(listen, listen.asked)
        if request is not None and link.listens.pop(request, None) and not link.ended:
            link.pending.pop(request, None)
            link.peer.cancel(request, now=self._relay.now)
