"""Coming back for an answer whose stream has ended before it: a GET with Last-Event-ID.

Streamable HTTP, "Resumability and Redelivery"; since 2025-11-25 a server may close a connection on
purpose, after an event with an id, and be polled ("Sending Messages to the Server").
"""

from typing import TYPE_CHECKING

from msgspec import Struct, structs

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.heard import Done, Event, Head, Heard, Text, header
from mcpcore_conformance.kit.messages import Kind, Message, parse
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.wire import Wire

if TYPE_CHECKING:
    from mcpcore_conformance.kit.talk import ServerTalk

MOST = 20
"""Maximum number of times that the kit comes back for one answer."""
PAUSE, LONGEST = 0.01, 0.5
"""Seconds before it does so first, twice as many each time, and at most; ``retry`` may be more."""
OK = 200


class Post(Struct):
    """A message that was sent, and what the kit knows of its stream."""

    exchange: int
    owed: int
    """Answers that have not come."""
    mark: str = ""
    """The id of the last event that had one."""
    retry: float = 0.0
    """Seconds that the server wants to be left alone."""
    times: int = 0
    stayed: float = 0.0
    """Seconds that the kit has stayed away."""
    done: Done | None = None
    """End of the response to the POST, kept back while the kit comes back."""
    due: float | None = None
    """Time at which it comes back next."""
    resumed: bool = False
    """True if the last GET has got an event stream."""


class ComingBack:
    """Resumption of event streams; messages of a resumed stream count as of the POST's exchange.

    Its end is the end of that exchange.  A stream that the kit has cut itself is never picked up.
    """

    def __init__(self, talk: "ServerTalk", wire: Wire, revision: Revision) -> None:
        self._talk = talk
        self._wire = wire
        self._can = wire.binding is Binding.HTTP and revision.streamable_http and revision.resumable
        self.by_hand = False
        """True if the case looks at the streams of its raw messages itself; not of requests."""
        self._posts: dict[int, Post] = {}
        """POSTs with an answer to come, by the exchange of the POST and of the latest GET."""
        self.polled: set[int] = set()
        """Exchanges of POSTs whose streams have ended before the answer, and were picked up."""

    def posted(self, exchange: int, payload: bytes) -> None:
        """Take down what was sent, as something may be owed for it."""
        if self._can:
            owed = _owed(parse(Text(payload)))
            if owed:
                self._posts[exchange] = Post(exchange, owed)

    def picked_up(self, exchange: int, mark: str) -> None:
        """Take down that a case has come back for an answer; if need be, the kit goes on."""
        self._posts[exchange] = Post(exchange, 1, mark)

    def forget(self, exchange: int) -> None:
        """Do not come back for what was cancelled."""
        if (post := self._posts.get(exchange)) is not None:
            post.owed = 0

    def stayed(self, exchange: int) -> float:
        """Seconds that the kit has stayed away, and that an answer may take longer; bounded."""
        post = self._posts.get(exchange)
        return 0.0 if post is None else min(post.stayed, 2 * self._talk.timing.answer)

    def until_next(self, now: float) -> float:
        """Seconds until the kit comes back for something."""
        due = [post.due for post in self._posts.values() if post.due is not None]
        return max(0.0, min(due) - now) if due else float("inf")

    async def come_back(self, now: float) -> None:
        """Open the streams for which it is time."""
        for post in [*self._posts.values()]:
            if post.due is not None and post.due <= now:
                post.due, post.resumed = None, False
                self._posts[await self._wire.listen(post.mark)] = post

    def heard(self, heard: Heard, now: float) -> Heard | None:
        """Move what was heard to the exchange that it is of; None for an end that is none yet."""
        exchange = getattr(heard, "exchange", 0)
        post = self._posts.get(exchange)
        if post is None:
            return heard
        back = exchange != post.exchange
        match heard:
            case Head():
                kind = (header(heard.headers, "content-type") or "").partition(";")[0].strip()
                post.resumed = heard.status == OK and kind.lower() == "text/event-stream"
            case Done():
                return self._ended(post, heard, back, now)
            case Text() | Event() if post.resumed:
                post.mark = post.mark if heard.event_id is None else heard.event_id
                post.retry = post.retry if heard.retry is None else heard.retry / 1000
                if isinstance(heard, Text):
                    post.owed -= _answers(parse(heard))
                if back:
                    return structs.replace(heard, exchange=post.exchange)
        return heard

    def _ended(self, post: Post, done: Done, back: bool, now: float) -> Done | None:
        if back:
            del self._posts[done.exchange]
        else:
            post.done = done
        wanted = post.owed > 0 and post.mark and not done.cut
        if wanted and post.resumed and post.times < MOST:
            own = min(PAUSE * 2**post.times, LONGEST)
            pause = min(max(post.retry, own), self._talk.timing.answer)
            post.times += 1
            self.polled.add(post.exchange)
            post.stayed += pause
            post.due = now + pause
            return None
        del self._posts[post.exchange]
        return post.done


def _owed(message: Message) -> int:
    """Return the number of answers that a message is owed, as far as can be told."""
    if message.kind is Kind.BATCH:
        return sum(map(_owed, message.parts))
    return int(message.kind in (Kind.REQUEST, Kind.INVALID))


def _answers(message: Message) -> int:
    """Return the number of answers in a message; an invalid one may well have been an answer."""
    if message.kind is Kind.BATCH:
        return sum(map(_answers, message.parts))
    return int(message.kind not in (Kind.REQUEST, Kind.NOTIFICATION))
