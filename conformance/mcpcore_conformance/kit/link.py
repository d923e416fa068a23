"""A conversation with a server, at the level of messages: the same over every binding."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import UNSET, UnsetType

from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_PROTOCOL_VERSION,
)
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.account import SAFE, Account
from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.apart import shape_problem
from mcpcore_conformance.kit.headers import for_arguments
from mcpcore_conformance.kit.heard import Head, Text, header
from mcpcore_conformance.kit.link_coming_back import ComingBack
from mcpcore_conformance.kit.link_record import LinkRecord, key_of
from mcpcore_conformance.kit.messages import Kind, Message, encode
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.pace import Offer, is_slow
from mcpcore_conformance.kit.reply import ALWAYS, Reply, Sent
from mcpcore_conformance.kit.usable import members
from mcpcore_conformance.kit.verdicts import Broken, Ended, Inconclusive, Slow, check
from mcpcore_conformance.kit.wire import Overrides, Wire

if TYPE_CHECKING:
    from mcpcore_conformance.kit.talk import ServerTalk

T = TypeVar("T")

CLIENT_INFO = {"name": "mcpcore-conformance", "version": "1"}
INITIALIZED = "notifications/initialized"
UNAUTHORIZED, FORBIDDEN = 401, 403
TOO_MANY = 429
"""The status of a server that was asked too often, or was shown too many wrong tokens."""
BUSY = "the server takes no more requests of the kit for now (status 429)"
OF_A_ROUND = ("requestState", "inputResponses")
"""Params that belong to one round of a request that is answered in several."""
STATEFUL = frozenset(
    {
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "subscriptions/listen",
        "initialize",
    }
)
"""Requests after which a conversation is not what it was."""


class Link(LinkRecord):
    """Sends messages to a server and sorts what comes back.

    What is heard and not asked for stays in ``inbox`` until it is expected; questions of the
    server are answered as ``answering`` says and listed in ``asked``.
    """

    def __init__(
        self,
        talk: "ServerTalk",
        wire: Wire,
        revision: Revision,
        *,
        capabilities: dict[str, Any],
        answering: Answering,
        first_id: int = 1,
        account: Account | None = None,
    ) -> None:
        super().__init__(talk, wire, revision, account or Account("server", revision))
        self.capabilities = capabilities
        self.answering = answering
        self.coming_back = ComingBack(talk, wire, revision)
        self.next_id = first_id
        self.begun = first_id > 1
        """True if an earlier case has heard the server here."""
        self._said = self.begun
        """True if anything was sent."""
        self._opening: Any = UNSET
        """The id of initialize, if that was the first thing said, and as it should be."""
        self.agreed = self.begun
        """True if it was answered as it should be, with this revision."""
        self.welcome: dict[str, Any] = {}
        """Its result then."""
        self.ready = self.begun
        """True if notifications/initialized was sent."""
        self.offers: dict[int, Offer] = {}
        """Listed objects that were asked for, by the exchange."""

    # Saying

    @property
    def meta(self) -> dict[str, Any]:
        """The ``_meta`` that a request of the modern era needs."""
        return {
            META_PROTOCOL_VERSION: self.revision.name,
            META_CLIENT_INFO: CLIENT_INFO,
            META_CLIENT_CAPABILITIES: self.capabilities,
        }

    def id(self) -> int:
        """Make the next id of this conversation."""
        self.next_id += 1
        return self.next_id - 1

    def params(self, params: Any = UNSET, meta: dict[str, Any] | None = None) -> Any:
        """Complete the params of a request: in the modern era with ``_meta``."""
        needed = self.meta if self.revision.modern else {}
        if not needed and not meta:
            return params
        made = {} if params is UNSET else dict(params)
        made["_meta"] = {**needed, **made.get("_meta", {}), **(meta or {})}
        return made

    async def say(self, value: Any, *, headers: Overrides | None = None, method: str = "") -> Sent:
        """Send one message: a JSON value, or bytes as they are."""
        self.spoilt = True
        by_hand = self.coming_back.by_hand
        return await self._say(value, headers=headers, method=method, by_hand=by_hand)

    async def _say(
        self,
        value: Any,
        *,
        headers: Overrides | None = None,
        method: str = "",
        by_hand: bool = False,
    ) -> Sent:
        payload = value if isinstance(value, bytes) else encode(value)
        self.account.said(value)
        exchange = await self.wire.say(payload, headers={**self.mirrors(value), **(headers or {})})
        if not by_hand:
            self.coming_back.posted(exchange, payload)
        self._said = True
        identifier: Any = UNSET
        offer: Offer | None = None
        if isinstance(value, bytes):
            self._taken.clear()  # what ids it has, nobody knows
        if isinstance(value, dict):
            identifier = value.get("id", UNSET)
            if "method" in value:  # an answer has the id of a request of the server's
                method = method or str(value["method"])
                offer = self.talk.features.offer_of(method, value.get("params"))
                self._methods[key_of(identifier)] = method
                self._taken.discard(key_of(identifier))
                if identifier is UNSET and exchange:
                    self._notified.add(exchange)
            if method == INITIALIZED and self.agreed and not self.ready:
                self.ready = True
                self.talk.log.opened(self.wire.number)
        if offer is not None and exchange:
            self.offers[exchange] = offer
        return Sent(id=identifier, exchange=exchange, method=method, offer=offer)

    def mirrors(self, value: Any) -> dict[str, str]:
        """The headers of a call that repeat arguments of it, as the schema of its tool has it."""
        found = members(value)
        if not self.revision.mirror_headers or found.get("method") != "tools/call":
            return {}
        params = members(found.get("params"))
        tool = self.talk.features.tools.get(str(params.get("name")))
        arguments = members(params.get("arguments"))
        return {} if tool is None else for_arguments(tool.input_schema, arguments)

    async def send(
        self,
        method: str,
        params: Any = UNSET,
        *,
        id: Any = UNSET,
        meta: dict[str, Any] | None = None,
        bare: bool = False,
        headers: Overrides | None = None,
    ) -> Sent:
        """Send a request and do not wait; ``bare``: params exactly as given, without ``_meta``."""
        identifier = self.id() if isinstance(id, UnsetType) else id
        complete = params if bare else self.params(params, meta)
        self._waiting.add(key_of(identifier))
        if method == "initialize" and not self._said and complete == self.opening():
            self._opening = identifier
        else:
            self.spoilt |= bare or method in STATEFUL
        sent = await self._say(messages.request(identifier, method, complete), headers=headers)
        large = isinstance(identifier, int) and abs(identifier) >= SAFE
        sent.sound = messages.is_id(identifier) and not large and not bare
        return sent

    async def notify(
        self, method: str, params: Any = UNSET, *, headers: Overrides | None = None
    ) -> Sent:
        """Send a notification; in the modern era without ``_meta``, which only requests need."""
        self.spoilt |= method != INITIALIZED
        return await self._say(messages.notification(method, params), headers=headers)

    async def request(
        self, method: str, params: Any = UNSET, *, within: float | None = None, **rest: Any
    ) -> Reply:
        """Send a request, as :meth:`send`, and wait for what comes of it."""
        return await self.reply(await self.send(method, params, **rest), within)

    async def ask(self, method: str, params: Any = UNSET, **rest: Any) -> dict[str, Any]:
        """Send a request that has to succeed, check the shape of its result, and return it.

        Where it is asked for input, the request is made again with the answers, as a client does.
        """
        for _ in range(10):
            reply = await self.request(method, params, **rest)
            found = reply.result
            problem = shape_problem(method, found, self.revision)
            check(not problem, f"the result of {method}: {problem}", method)
            if not self.revision.input_rounds or found.get("resultType") != "input_required":
                return found
            params = self.again({} if params is UNSET else params, found)
        raise Broken(f"{method} asks for input again and again")

    def again(self, params: dict[str, Any], asking: dict[str, Any]) -> dict[str, Any]:
        """Build the params of the request that answers ``input_required``.

        ``params``: those of the request that was answered so; what they say of a round before it is
        left out.
        """
        made = {name: each for name, each in params.items() if name not in OF_A_ROUND}
        if "requestState" in asking:
            made["requestState"] = asking["requestState"]
        wanted = asking.get("inputRequests", {})
        if not isinstance(wanted, dict):
            raise Broken(f"inputRequests has to be a map of requests, not {wanted!r:.80}")
        made["inputResponses"] = {
            key: self.answering.result(_embedded(each)) for key, each in wanted.items()
        }
        return made

    async def initialize(self) -> dict[str, Any]:
        """Do the handshake of the legacy era; returns the result of initialize."""
        reply = await self.request("initialize", self.opening())
        if not reply.good:
            raise Inconclusive(f"initialize got {reply}")
        agreed = reply.result.get("protocolVersion")
        if isinstance(agreed, str) and agreed != self.revision.name:
            raise Inconclusive(f"the server answered {agreed!r} to {self.revision.name}")
        await self.accepted(await self.notify(INITIALIZED))
        if self.talk.features.answers_notifications:
            await self.fence()
            self.inbox = [each for each in self.inbox if not each.about_nothing]
        self.retorts.clear()
        return reply.result

    @property
    def patience(self) -> float:
        """Seconds that an answer may take; before the first one a program may have to start."""
        timing = self.talk.timing
        met = self.begun or self.heard or self.heads or self.events
        return timing.answer if met else max(timing.start, timing.answer)

    def opening(self) -> dict[str, Any]:
        """The params of initialize."""
        return {
            "protocolVersion": self.revision.name,
            "capabilities": self.capabilities,
            "clientInfo": CLIENT_INFO,
        }

    async def accepted(self, sent: Sent) -> Head | None:
        """Wait until a message that owes no answer was taken: over HTTP for its status.

        Over HTTP+SSE, too, each message has a connection of its own, and may overtake others.
        """
        if not sent.exchange:
            return None
        await self.until(lambda: self.ended.get(sent.exchange))
        if self.wire.binding is not Binding.HTTP:
            return None
        head = self.heads.get(sent.exchange)
        check(head is not None, f"{sent.method or 'the message'} got no HTTP response")
        self.check_let_in(sent.exchange)
        return head

    async def cancel(self, sent: Sent, reason: str = "the kit wants to see it") -> None:
        """Cancel a request as the revision and the binding have it."""
        if self.revision.disconnect_cancels and self.wire.binding is Binding.HTTP:
            await self.wire.cut(sent.exchange)
        else:
            self.coming_back.forget(sent.exchange)
            await self.notify("notifications/cancelled", {"requestId": sent.id, "reason": reason})

    async def listen(self) -> int:
        """Open what brings messages that belong to no request (a GET stream), where needed."""
        return await self.wire.listen() if self.revision.handshake else 0

    # Hearing

    async def reply(self, sent: Sent, within: float | None = None) -> Reply:
        """Wait for what comes of a request that was sent.

        Raises Slow where nothing comes in the time of an answer, and nothing would come in that
        time if the request were one that is served; not where it is said how long to wait
        (``within``).
        """
        reply, pace, begun = Reply(sent), self.talk.features.pace, self.talk.stage.now()
        before = self.heard

        def found() -> bool:
            reply.message = self.answer_to(sent)
            reply.other_id = self._mistyped(sent)
            over = self.over(sent) or key_of(sent.id) in self._misshapen
            ended = over or reply.other_id is not UNSET or self.gone is not None
            return reply.message is not None or ended

        await self.until(found, within, of=sent.exchange)
        if reply.message is None:
            reply.message = self.answer_to(sent, by_chance=True)
        if reply.message is not None:
            self.inbox.remove(reply.message)
            self._waiting.discard(key_of(sent.id))
            if sent.method in ALWAYS:
                pace.longest = max(pace.longest, self.talk.stage.now() - begun)
            if reply.message.answers(sent.id):
                self._taken.add(key_of(sent.id))
            if sent.id == self._opening is not UNSET and reply.message.kind is Kind.RESULT:
                self.welcome = reply.result
                self.agreed = self.welcome.get("protocolVersion") == self.revision.name
        reply.head = self.heads.get(sent.exchange) if sent.exchange else None
        self.check_let_in(sent.exchange)
        if sent.exchange in self.ended:
            reply.body = self.ended[sent.exchange].body
        reply.gone = self.gone if reply.message is None else None
        reply.among = self.heard - before
        ended = self.over(sent) or key_of(sent.id) in self._misshapen
        nothing = reply.message is None and reply.gone is None and reply.other_id is UNSET
        reply.pending = nothing and not ended
        if reply.pending and within is None:
            pace.silent = True
            await self.check_pace(sent.offer)
        if reply.served:
            pace.answered(sent.offer)
        return reply

    def check_let_in(self, exchange: int) -> None:
        """Raise Inconclusive for a limit, and for a challenge that the kit cannot meet.

        A server that challenges who has shown good credentials is judged by the case.
        """
        head = self.heads.get(exchange)
        if head is None or not self.talk.plays:
            return
        if head.status == TOO_MANY:
            raise Inconclusive(BUSY)
        challenge = header(head.headers, "www-authenticate")
        if challenge is None or self.talk.brings_tokens:
            return
        if head.status == UNAUTHORIZED and not self.talk.credentials:
            raise Inconclusive("the server wants credentials (status 401): --header gives them")
        if head.status == FORBIDDEN and "insufficient_scope" in challenge:
            raise Inconclusive("the server wants another scope than the token has (status 403)")

    async def check_pace(self, offer: Offer | None) -> None:
        """Go on where a request that got no answer in time may be said to get none.

        Raises Slow where that which it asks for takes longer than an answer may.
        """
        if offer is not None and await is_slow(self.talk, offer):
            seconds = self.talk.features.pace.slow[offer]
            raise Slow(f"{offer[1]} takes longer than {seconds:g} s: what comes of it is not known")

    async def expect(
        self,
        method: str | Callable[[Message], bool],
        within: float | None = None,
    ) -> Message:
        """Wait for a notification or request of the server; raises Broken if it does not come."""
        message = await self.wait_for(method, within)
        if message is None:
            why = f": the connection is gone ({self.gone.reason})" if self.gone else ""
            what = method if isinstance(method, str) else "the expected message"
            raise Broken(f"{what} did not come{why}")
        return message

    async def wait_for(
        self, method: str | Callable[[Message], bool], within: float | None = None
    ) -> Message | None:
        """Wait for a message of the server and take it out of the inbox; None if none comes."""
        matches = (lambda message: message.method == method) if isinstance(method, str) else method
        found = await self.until(lambda: next(filter(matches, self.inbox), None), within)
        if found is not None:
            self.inbox.remove(found)
        return found

    async def until(
        self, found: Callable[[], T | None], within: float | None = None, *, of: int = 0
    ) -> T | None:
        """Hear until ``found`` gives something true; None if it does not in time.

        ``of``: the exchange that is waited for, which may take as much longer as the server has
        the kit stay away from it.
        """
        end = self.talk.stage.now() + (self.patience if within is None else within)
        while not (value := found()):
            now = self.talk.stage.now()
            left = end + self.coming_back.stayed(of) - now
            if left <= 0 or self.gone is not None:
                return None
            await self.coming_back.come_back(now)
            heard = await self.wire.hear(min(left, self.coming_back.until_next(now)))
            if heard is not None:
                heard = self.coming_back.heard(heard, self.talk.stage.now())
            if heard is not None:
                for message in self.sorted(heard):
                    await self._message(message)
        return value

    async def quiet(self, seconds: float | None = None) -> None:
        """Let the server show that it is there, and hear everything that it has to say."""
        await self.alive()
        await self.until(lambda: None, self.talk.timing.quiet if seconds is None else seconds)

    @property
    def plain(self) -> str:
        """A method that every server answers once a conversation is open."""
        return self.talk.features.plainest_request(modern=self.revision.modern)

    async def alive(self) -> None:
        """Check that the server still serves a plain request.

        Whether the answer has the form that it should have is for other cases to say.
        """
        sent = await self.send(self.plain)
        self._fences.add(key_of(sent.id))
        reply = await self.reply(sent)
        found = reply.message
        check(
            key_of(sent.id) in self._misshapen or (found is not None and found.kind is Kind.RESULT),
            f"afterwards the server does not answer any more: {sent.method} got {reply}",
            "" if found is None else sent.method,
        )

    async def fence(self) -> bool:
        """Send a plain request; return whether anything came with its id, whatever it says."""
        sent = await self.send(self.plain)
        self._fences.add(key_of(sent.id))
        answer = await self.until(
            lambda: (
                next((each for each in self.inbox if each.answers(sent.id)), None)
                or key_of(sent.id) in self._misshapen
            ),
            of=sent.exchange,
        )
        if isinstance(answer, Message):
            await self.reply(sent, 0.0)
        return bool(answer)

    async def settled(self) -> bool:
        """End the handshake if the case has not, and see that the server has nothing more to say.

        Returns whether another case may go on with this conversation.
        """
        if self.revision.handshake and self.agreed and not self.ready:
            await self.notify(INITIALIZED)
        if not self.clean or (self.revision.handshake and not self.ready):
            return False
        try:
            await self.alive()
        except Ended:
            return False
        return self.clean

    async def _message(self, message: Message) -> None:
        if message.kind is Kind.REQUEST:
            self.asked.append(message)
            if await self.answer(message):
                return
        self.inbox.append(message)

    async def answer(self, question: Message, answering: Answering | None = None) -> bool:
        """Answer a request of the server, as ``answering`` says or that of the conversation.

        Returns whether that has an answer to it.
        """
        answer = (answering or self.answering).result(question)
        if answer is None:
            return False
        if "error" in answer:
            value = {"jsonrpc": "2.0", "id": question.id, "error": answer["error"]}
        else:
            value = messages.result(question.id, answer)
        await self._say(value, method=f"the answer to {question.method}")
        return True


def _embedded(request: Any) -> Message:
    if not isinstance(request, dict):
        raise Broken(f"an input request is an object, not {request!r}")
    return Message(Kind.REQUEST, request, Text(b""))
