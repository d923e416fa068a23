"""A conversation with a client, at the level of messages: the kit is a scripted server."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import UNSET, Struct

from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.account import Account
from mcpcore_conformance.kit.client_eras import Overture, is_modern
from mcpcore_conformance.kit.client_record import ClientRecord
from mcpcore_conformance.kit.client_serving import HELD, Serving, completed
from mcpcore_conformance.kit.client_wire import Arrival, Asked, Came, Ended, HostWire, Signal
from mcpcore_conformance.kit.heard import Done, Event, Gone, Head, Headers, Noise, Text, header
from mcpcore_conformance.kit.messages import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Kind,
    Message,
    encode,
)
from mcpcore_conformance.kit.model import LINES, Binding
from mcpcore_conformance.kit.verdicts import (
    ARRAY,
    BATCH,
    ID,
    MESSAGE,
    NOISE,
    Broken,
    Inconclusive,
    check,
)

if TYPE_CHECKING:
    from mcpcore_conformance.kit.client_talk import ClientTalk

ONLY = "nothing but initialize"
ACCEPTED, BAD_REQUEST, NOT_FOUND, NOT_ALLOWED, OK = 202, 400, 404, 405, 200


class Told(Struct):
    """A request that the kit, as a server, has sent."""

    id: Any
    method: str


class ClientLink(ClientRecord):
    """Hears a client and answers it.

    A request that nobody expects is answered as ``serving`` says, unless its method is one of
    ``serving.hold``: such a one waits.  Notifications and answers of the client stay in ``inbox``
    until they are expected.  Everything that was heard is in ``seen``, oldest first.
    """

    def __init__(
        self, talk: "ClientTalk", wire: HostWire, revision: Revision, serving: Serving
    ) -> None:
        super().__init__(revision)
        self.talk = talk
        self.wire = wire
        self.serving = serving
        self.inbox: list[Message] = []
        self.account = Account("client", revision)
        """Record of the client's unasked messages."""
        self._overture = Overture()
        self._pending: list[Asked] = []
        self._owed: dict[int, int] = {}
        self._visits: dict[int, Asked] = {}
        """Heads whose bodies are still to come, for the site."""
        self._batches: set[int] = set()
        """Exchanges that have brought a batch: what answers it, one or many, is a stream."""
        self._get = 0
        self._next = 0

    # Waiting

    async def opened(self) -> Message:
        """Do the handshake of the era; returns initialize, or the first request of the modern era.

        Raises Inconclusive if the client does not get that far.
        """
        first = await self.begun()
        if not self.revision.handshake:
            return first
        if not await self.until(self._ready, wanted=None if self.talk.says_ready else _later):
            raise Inconclusive(f"the client did not say that it is ready: {self.talk.state(self)}")
        return self.requests("initialize")[-1]

    def _ready(self) -> bool:
        """Return True if the client says, or else shows by a request, that it is ready."""
        told = bool(self.notifications("notifications/initialized"))
        return told or (not self.talk.says_ready and any(map(_later, self.requests())))

    async def begun(self) -> Message:
        """Wait for how a client begins: with initialize, in the modern era with any other request.

        Whoever tries initialize first, and goes on in the modern way when it is refused, has begun
        as well.  Raises Inconclusive for a client that does not begin.
        """
        await self.until(lambda: self.beginning)
        return self.begins()

    def begins(self) -> Message:
        """As :meth:`begun`, without waiting for it."""
        if (first := self.beginning) is not None:
            return first
        if self.revision.handshake:
            raise Inconclusive(f"the client did not initialize: {self.talk.state(self)}")
        said = "no request"
        if found := self.requests():
            plain = any(each.method != "initialize" for each in found)
            said = "initialize, and then requests without _meta" if plain else ONLY
        raise Inconclusive(f"the client sent {said}: {self.talk.state(self)}")

    async def expect(
        self, method: str | Callable[[Message], bool], within: float | None = None
    ) -> Message:
        """Wait for a request or notification of the client; raises Broken if it does not come.

        A request that was expected is the case's to answer.
        """
        message = await self.wait_for(method, within)
        if message is None:
            what = method if isinstance(method, str) else "the expected message"
            raise Broken(f"{what} did not come: {self.talk.state(self)}")
        return message

    async def wait_for(
        self, method: str | Callable[[Message], bool], within: float | None = None
    ) -> Message | None:
        """Wait for a message and take it out of the inbox; None if none comes."""
        wanted = (lambda message: message.method == method) if isinstance(method, str) else method
        found: Message | None = await self.until(
            lambda: next(filter(wanted, self.inbox), None), within, wanted=wanted
        )
        if found is not None:
            self.inbox.remove(found)
        return found

    async def expect_http(self, method: str, within: float | None = None) -> Asked:
        """Wait for an HTTP request without a message (``GET``, ``DELETE``), to answer it.

        The method has to be one of ``serving.hold``.
        """
        found = await self.wait_for_http(method, within)
        if found is None:
            raise Broken(f"HTTP {method} did not come: {self.talk.state(self)}")
        return found

    async def wait_for_http(self, method: str, within: float | None = None) -> Asked | None:
        """As :meth:`expect_http`; None if none comes."""
        found: Asked | None = await self.until(
            lambda: next((each for each in self._pending if each.method == method), None), within
        )
        if found is not None:
            self._pending.remove(found)
        return found

    async def answer_to(self, told: Told, within: float | None = None) -> Message:
        """Wait for the client's answer to a request of the kit; raises Broken without one."""
        found = await self.wait_for(
            lambda each: each.kind in (Kind.RESULT, Kind.ERROR) and each.answers(told.id), within
        )
        if found is None:
            raise Broken(f"{told.method} got no answer: {self.talk.state(self)}")
        return found

    async def ended(self, within: float | None = None) -> Gone | None:
        """Wait until the client leaves this connection; over HTTP: until its process ends."""
        await self.until(lambda: self.gone or self.talk.ended, within)
        return self.gone

    async def until(
        self,
        found: Callable[[], Any],
        within: float | None = None,
        *,
        wanted: Callable[[Message], bool] | None = None,
    ) -> Any:
        """Hear, and answer by default, until ``found`` gives something true; None if not in time.

        Also over when the client has gone and nothing more can come.
        """
        return await self.talk.until(found, within, link=self, wanted=wanted)

    async def quiet(self, seconds: float | None = None) -> None:
        """Hear everything that the client says in a short time."""
        await self.until(lambda: None, self.talk.timing.quiet if seconds is None else seconds)

    # Answering

    async def respond(
        self, message: Message, result: dict[str, Any], *, bare: bool = False, end: bool = True
    ) -> bool:
        """Answer a request; what the revision demands is added, unless ``bare``."""
        if not bare:
            result = completed(message.method, result, self.revision, self.serving.info)
        return await self.answer(message, messages.result(message.id, result), end=end)

    async def fail(
        self,
        message: Message,
        code: int,
        text: str = "refused by the kit",
        data: Any = UNSET,
        *,
        status: int | None = None,
    ) -> bool:
        """Answer a request with an error; over HTTP with ``status``, if nothing was said yet."""
        value = messages.error(message.id, code, text, data)
        if status is not None and self.wire.binding is Binding.HTTP:
            self.account.said(value)
            http = self.talk.http(self)
            exchange = message.source.exchange
            self._owed.pop(exchange, None)
            return await http.reply(
                exchange, status, [("content-type", "application/json")], encode(value)
            )
        return await self.answer(message, value)

    async def answer(self, message: Message, value: Any, *, end: bool = True) -> bool:
        """Send an answer made by hand (JSON, or bytes) where that of the request belongs."""
        self.account.said(value)
        payload = value if isinstance(value, bytes) else encode(value)
        if self.wire.binding is not Binding.HTTP:
            return await self.wire.say(payload)
        http, exchange = self.talk.http(self), message.source.exchange
        left = self._owed.get(exchange, 1) - 1
        self._owed[exchange] = left
        by_stream = left or exchange in self._batches or self.serving.answer_by == "sse"
        if by_stream and not http.streaming(exchange):
            await http.stream(exchange, self.session_headers(message))
        if http.streaming(exchange):
            sent = await http.event(exchange, payload)
            if end and left <= 0:
                await http.end(exchange)
            return sent
        fields = [("content-type", "application/json"), *self.session_headers(message)]
        return await http.reply(exchange, OK, fields, payload)

    def session_headers(self, message: Message) -> Headers:
        """The header that gives a session, on the response to initialize."""
        if message.method != "initialize" or not self.revision.sessions:
            return []
        return [] if self.serving.session is None else [("mcp-session-id", self.serving.session)]

    # Saying

    def id(self) -> str:
        """Make the id of a request of the kit."""
        self._next += 1
        return f"kit-{self._next}"

    async def ask(
        self,
        method: str,
        params: Any = UNSET,
        *,
        id: Any = UNSET,
        about: Message | None = None,
        within: float | None = None,
    ) -> Message:
        """Send a request of the server and wait for the client's answer, result or error."""
        return await self.answer_to(await self.tell(method, params, id=id, about=about), within)

    async def tell(
        self, method: str, params: Any = UNSET, *, id: Any = UNSET, about: Message | None = None
    ) -> Told:
        """Send a request of the server and do not wait."""
        told = Told(self.id() if id is UNSET else id, method)
        await self.say(messages.request(told.id, method, params), about=about)
        return told

    async def notify(
        self, method: str, params: Any = UNSET, *, about: Message | None = None
    ) -> None:
        """Send a notification; ``about``: a request on whose stream it belongs (HTTP)."""
        await self.say(messages.notification(method, params), about=about)

    async def say(self, value: Any, *, about: Message | None = None) -> bool:
        """Send one message: a JSON value, or bytes as they are.

        Over HTTP on the stream of ``about``, else on the GET stream, else on that of the newest
        request that is open; raises Inconclusive if there is none.
        """
        self.account.said(value)
        payload = value if isinstance(value, bytes) else encode(value)
        if self.wire.binding is not Binding.HTTP:
            return await self.wire.say(payload)
        http = self.talk.http(self)
        exchange = about.source.exchange if about is not None else self._any_stream()
        if not http.streaming(exchange):
            await http.stream(exchange)
        return await http.event(exchange, payload)

    def _any_stream(self) -> int:
        http = self.talk.http(self)
        if http.streaming(self._get):
            return self._get
        for number in sorted(self.heads, reverse=True):
            if http.open(number):
                return number
        raise Inconclusive("the client has no stream open on which the server could say something")

    async def drop(self, message: Message | None = None) -> None:
        """Drop the exchange of a message, or all of the connection, without any goodbye."""
        await self.wire.cut(0 if message is None else message.source.exchange)

    # Hearing

    async def take(self, arrival: Arrival) -> None:
        """Sort what has arrived; used by the talk."""
        match arrival:
            case Asked() if self.serving.site is not None:
                if _has_body(arrival):
                    self._visits[arrival.exchange] = arrival
                else:
                    await self._visited(arrival)
            case Asked():
                await self._http(arrival)
            case Text() if arrival.exchange in self._visits:
                await self._visited(self._visits.pop(arrival.exchange), arrival)
            case Text():
                await self._message(messages.parse(arrival))
            case Done():
                self.dropped[arrival.exchange] = arrival
            case Gone():
                self.gone = arrival
            case Signal():
                self.signals.append(arrival)
            case Noise():
                self.noise.append(arrival)
            case Head() | Event() | Came() | Ended():
                raise AssertionError(f"{arrival} is nothing that a client sends")

    async def _visited(self, asked: Asked, body: Text | None = None) -> None:
        """Let the site answer a request, or let it in."""
        assert self.serving.site is not None
        reply = self.serving.site(asked, b"" if body is None else body.data)
        if reply is not None:
            http = self.talk.http(self)
            await http.reply(asked.exchange, reply.status, reply.headers, reply.body)
            return
        await self._http(asked)
        if body is not None:
            await self._message(messages.parse(body))

    async def _http(self, asked: Asked) -> None:
        path = asked.target.partition("?")[0]
        bare = self.wire.binding is Binding.HTTP and asked.method != "POST"
        if bare and path != urlsplit(self.talk.host.address).path:
            self.strays.append(asked)
            await self.talk.http(self).reply(asked.exchange, NOT_FOUND)
            return
        self.asked.append(asked)
        self.heads[asked.exchange] = asked
        if not bare:
            return
        if asked.method in self.serving.hold:
            self._pending.append(asked)
        else:
            await self.serve_http(asked)

    async def serve_http(self, asked: Asked) -> None:
        """Answer GET, DELETE and the rest as a plain server does."""
        http = self.talk.http(self)
        if asked.method == "GET" and self.revision.get_stream and self.serving.get_stream:
            self._get = asked.exchange
            await http.stream(asked.exchange)
        elif asked.method == "DELETE" and self.revision.sessions and self.serving.session:
            await http.reply(asked.exchange, OK)
        else:
            await http.reply(asked.exchange, NOT_ALLOWED, [("allow", "POST")])

    async def _message(self, message: Message) -> None:
        exchange = message.source.exchange
        if message.kind is Kind.INVALID:
            self.invalid.append(message)
            if self.wire.binding in LINES and message.stray and self.talk.skips_noise:
                return
            flaw = self._flaw(message)
            told = f"the client sent an invalid message: {message.told}"
            known = messages.meant(message) if flaw in self.talk.forgives else None
            if known is None:
                raise Broken(told, flaw)
            message = known
        parts = message.parts if message.kind is Kind.BATCH else [message]
        if message.kind is Kind.BATCH and not self.revision.batches:
            flaw = self._flaw(message)
            told = f"{self.revision.name} has no batches, the client sent one: {message.begin}"
            check(flaw in self.talk.forgives, told, flaw)
        owed = sum(part.kind is Kind.REQUEST for part in parts)
        if exchange:
            self._owed[exchange] = owed
            if message.kind is Kind.BATCH:
                self._batches.add(exchange)
        for part in parts:
            self.seen.append(part)
            if not (self.revision.handshake and self._overture.has(part)):
                self.account.heard(part)
            self.inbox.append(part)
        if exchange and not owed and self.wire.binding is Binding.HTTP:
            methods = {part.method or "answer" for part in parts}
            if not methods & self.serving.hold:
                await self.talk.http(self).reply(exchange, ACCEPTED)

    def _flaw(self, message: Message) -> str:
        """Return the flaw by which a broken message is known."""
        if message.kind is Kind.BATCH:
            lines = ARRAY if self.wire.binding in LINES else MESSAGE
            return BATCH if self.wire.binding is Binding.HTTP else lines
        if self.wire.binding in LINES and (message.stray or message.value is None):
            return NOISE
        return ID if message.misnamed else MESSAGE

    async def serve(
        self, wanted: Callable[[Message], bool] | None = None, *, everything: bool = False
    ) -> None:
        """Answer the requests that nobody waits for; used by the talk."""
        if everything:
            for asked in self._pending:
                await self.serve_http(asked)
            self._pending.clear()
        for message in [*self.inbox]:
            if message.kind is not Kind.REQUEST or (wanted is not None and wanted(message)):
                continue
            held = message.method in self.serving.hold and not everything
            if held and not (message.method in HELD and self._early(message)):
                continue
            self.inbox.remove(message)
            await self.serve_one(message)

    async def serve_one(self, message: Message) -> None:
        """Answer one request as ``serving`` says."""
        listens = message.method == "subscriptions/listen" and self.revision.modern
        if listens and message.method not in self.serving.by:
            await self.acknowledge(message)
            return
        if message.method != "server/discover" and self._early(message):
            await self.fail(message, INVALID_REQUEST, "initialize comes first", status=BAD_REQUEST)
            return
        answer = self.serving.answer(message, self.revision)
        if answer is None:
            return
        if "error" not in answer:
            await self.respond(message, answer)
            return
        found = answer["error"]
        status = None
        if self.wire.binding is Binding.HTTP:
            status = self._status(message, found["code"])
        await self.fail(
            message, found["code"], found["message"], found.get("data", UNSET), status=status
        )

    def _status(self, message: Message, code: int) -> int | None:
        if self.revision.modern:
            return NOT_FOUND if code == METHOD_NOT_FOUND else BAD_REQUEST
        early = self._early(message) or not self.requests("initialize")
        return BAD_REQUEST if early else None

    def _early(self, message: Message) -> bool:
        """Return True for a modern request outside a session, by which a client tries that era."""
        if not self.revision.handshake or not is_modern(message):
            return False
        if self.wire.binding is Binding.HTTP and self.serving.session is not None:
            return self.header(message, "mcp-session-id") is None
        return not self.requests("initialize")

    async def acknowledge(self, message: Message, accepted: Any = UNSET) -> None:
        """Open a subscription: say what of it is honoured, by default all."""
        filter = message.params.get("notifications", {}) if accepted is UNSET else accepted
        await self.notify(
            "notifications/subscriptions/acknowledged",
            {"notifications": filter, "_meta": {META_SUBSCRIPTION_ID: message.id}},
            about=message,
        )


def _has_body(asked: Asked) -> bool:
    """Return True if the body of a request is still to come."""
    length = header(asked.headers, "content-length")
    return length not in (None, "0") or header(asked.headers, "transfer-encoding") is not None


def _later(message: Message) -> bool:
    """Return True for a request of a client that takes the handshake for done."""
    known = message.method in ("initialize", "ping")
    return message.kind is Kind.REQUEST and not known and not is_modern(message)
