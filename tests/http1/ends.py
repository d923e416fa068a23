"""The two ends of an HTTP/1.1 connection without I/O, and what they make of bytes."""

import math
from collections.abc import Iterable

from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpReply
from mcpcore_transports.http1.body import BadBody, BadCoding, BadHead
from mcpcore_transports.http1.connection import Http1Client, Http1Server, Http1State
from mcpcore_transports.http1.heads import RequestHead, RequestParser
from mcpcore_transports.http1.settings import HttpClientLinkSettings, HttpServerSettings

Event = tuple[str, object]
SETTINGS = HttpServerSettings(
    request_line=200,
    header_bytes=800,
    header_count=20,
    write_size=64,
    head_time=10.0,
    body_time=30.0,
    body_grace=5.0,
    body_rate=10,
    idle_time=60.0,
    write_time=20.0,
    linger_time=1.0,
    linger_bytes=100,
    read_ahead=100,
)


def server(settings: HttpServerSettings = SETTINGS, *, plain: bool = True) -> Http1Server:
    """A server's end whose connection is established, at the time 0."""
    http = Http1Server(
        RequestParser("h11", settings.head_limits, plain=plain), settings, "127.0.0.1:1", 0.0
    )
    http.established()
    return http


class Application:
    """Answers each request of a connection, and keeps in ``events`` what it was told."""

    def __init__(self, http: Http1Server, *, whole: bool = True) -> None:
        self.http = http
        self.events: list[Event] = []
        self.sent = b""
        self._whole = whole

    def receive(self, data: bytes) -> None:
        """Take input and go on as far as possible."""
        http = self.http
        try:
            if http.state is Http1State.BODY:
                self._body(data)
            else:
                http.feed(data)
            while self._step():
                pass
        except BadHead as error:
            if isinstance(error, BadBody):
                self._content(error.content)  # a server has no use for it
            self.events.append(("refused", str(error)))
            self.sent += http.refuse(error, (), 0.0)

    def end(self) -> None:
        """Take the end of the input."""
        self.http.end_input(0.0)
        self.receive(b"")

    def _step(self) -> bool:
        http = self.http
        if http.state is Http1State.HEAD and (http.buffer or http.ended):
            head = http.next_head(0.0)
            if head is None:
                return False
            self._head(head)
            if self._whole and (body := http.take_whole()) is not None:
                self._content(body)
                self._reply()
            elif head.length != 0:
                self.sent += http.begin_body(0.0)
                self._body(b"")
            else:
                http.skip_body()
                self._reply()
            return True
        return False

    def _head(self, head: RequestHead) -> None:
        self.events.append(("head", (head.text, head.length, head.keep_alive)))

    def _content(self, data: bytes) -> None:
        if self.events[-1][0] == "content":
            data = self.events.pop()[1] + data  # type: ignore[operator]
        if data:
            self.events.append(("content", data))

    def _body(self, data: bytes) -> None:
        content, ahead, done = self.http.read_body(data, 0.0)
        assert ahead >= 0
        self._content(content)
        if done:
            self._reply()
        else:
            self.http.check_body()

    def _reply(self) -> None:
        self.events.append(("end", self.http.keep_alive))
        if self.http.may_be_whole:
            self.sent += self.http.send_whole(HttpReply(1, 200, (), b"x" * 100), 0.0)
            while self.http.rest:
                self.sent += self.http.send_rest(0.0)
        else:
            self.sent += self.http.send([HttpHead(1, 200, []), HttpChunk(1, b"x")], 0.0)
            self.sent += self.http.send([HttpEnd(1)], 0.0)


def told(pieces: Iterable[bytes], *, ended: bool = False, whole: bool = True) -> list[Event]:
    """What an application is told of a stream that arrives in ``pieces``."""
    application = Application(server(plain=whole), whole=whole)
    for piece in pieces:
        application.receive(piece)
    if ended:
        application.end()
    return application.events


def client(settings: HttpClientLinkSettings | None = None) -> Http1Client:
    """A client's end that has sent a request, at the time 0."""
    http = Http1Client(settings or HttpClientLinkSettings())
    http.begin(None, None, 0.0)
    http.connect()
    http.established()
    http.send()
    return http


def read(pieces: Iterable[bytes], *, ended: bool = False) -> list[Event]:
    """What a client reads from a response that arrives in ``pieces``."""
    http, events = client(), list[Event]()
    content = b""
    try:
        for piece in pieces:
            http.feed(piece)
            if http.state is Http1State.HEAD and (head := http.next_head(0.0)) is not None:
                events.append(("head", (head.status, head.headers, http.deadline == math.inf)))
                http.accept_codings(head.codings)
            if http.state is Http1State.BODY:
                content += b"".join(http.decode(http.read_body()))
                http.check_body()
        if http.state is Http1State.BODY and (http.complete or (ended and http.end_input())):
            again = http.finish()
            events.append(("content", content))
            events.append(("end", again))
            return events
    except (BadHead, BadBody, BadCoding) as error:
        return [*events, ("content", content), ("refused", str(error))]
    return [*events, ("content", content)]
