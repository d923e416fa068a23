"""Request that reached a host through a framework, and its reply as a series of actions."""

import math
from collections import deque
from collections.abc import Iterable
from types import TracebackType

import anyio
from msgspec import structs

from mcpcore.engine.events import Route
from mcpcore.http.certificates import ClientCertificate
from mcpcore.http.headers import CONTENT_LENGTH, HOST, TRANSFER_ENCODING, Headers
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpRequest
from mcpcore.http.principals import Refusal, address_of, quota_key
from mcpcore_transports.http.server.host import HttpHost
from mcpcore_transports.http.settings import HeadLimits
from mcpcore_transports.http1.format import error_reply
from mcpcore_transports.http1.heads import named_revision, split_target
from mcpcore_transports.link import clock

Action = HttpHead | HttpChunk | HttpEnd
"""Next step of a reply for a framework: send a head, send a part of the body, or end it."""

_REFUSED: Route = 0
"""Placeholder for the exchange in the actions of a reply that the machine does not know."""


def http_request(
    method: str,
    target: str,
    headers: Headers | list[tuple[str, str]],
    *,
    peer: str | None = None,
    root: str = "",
    scheme: str = "http",
    certificate: ClientCertificate | None = None,
) -> HttpRequest:
    """Make the head of a request from the data of a framework.

    ``target`` is the target of the request line, or path and query.  Header names may be in any
    case, text is Latin-1 (RFC 9112 section 5).  ``peer``: the client's address, for logs and its
    share.  ``root``: the front of the path that the framework has removed.  ``scheme``: ``https``
    if the framework is reached over TLS.  ``certificate``: the client's, if TLS has verified one.
    Raises BadHead for an invalid target.
    """
    lines = [(_octets(name).lower(), _octets(value)) for name, value in headers]
    host = next((value for name, value in lines if name == HOST), b"")
    path, query = split_target(target, host)
    return HttpRequest(
        method=method,
        path=path,
        query=query,
        headers=lines,
        peer=peer,
        root=root,
        scheme=scheme,
        certificate=certificate,
    )


def with_length(request: HttpRequest, length: int | None) -> HttpRequest:
    """Add a header that frames the body to a request without one; a ``length`` of None is unknown.

    HTTP/2 needs none, and frameworks that have decoded a body may have dropped it.
    """
    if any(name in (CONTENT_LENGTH, TRANSFER_ENCODING) for name, _ in request.headers):
        return request
    line = (TRANSFER_ENCODING, b"chunked") if length is None else (CONTENT_LENGTH, b"%d" % length)
    return structs.replace(request, headers=[*request.headers, line])


def _octets(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)


class HttpCall:
    """Request and its reply: :meth:`feed` its body, carry out its actions, :meth:`close` it.

    ::

        with endpoint.handle(request, body) as call:
            async for action in call:
                ...

    The actions are one HttpHead, any number of HttpChunk, and HttpEnd.  An iteration that ends
    without HttpEnd was aborted: abort the connection.  Actions are made only on demand, which gives
    back-pressure.  All methods must be called in the event loop of the endpoint.
    """

    def __init__(
        self, host: HttpHost, request: HttpRequest, principal: str | Refusal | None = None
    ) -> None:
        self.wanted = 0
        """Maximum bytes of the body that may be fed; 0 while the reply is being made."""
        self.over: anyio.CancelScope | None = None
        """Scope that is cancelled when the call is aborted outside of :meth:`actions`."""
        self._began, self._fed = clock(), 0
        self.deadline = host.settings.body_deadline(self._began, 0)
        self._host = host
        self._route: Route | None = None
        self._request = request
        self._begun = False
        self._woken = False
        self._waiting = self._stopped = False
        self._signal: anyio.Event | None = None
        self._actions: deque[Action] = deque()
        if principal is None and host.settings.authenticate and host.machine.asks_who(request):
            raise RuntimeError("who sends the request has to be found out: await identify() first")
        # Behind a proxy that does not name the client, requests have no share of a client.
        self.client = None if request.peer is None else quota_key(address_of(request.peer))
        refusal = head_refusal(request, host.settings.head_limits)
        if (full := host.full_for(self.client)) is not None:
            refusal = 503, f"too many requests{full}"
        host.add(self)
        if refusal is not None:
            self._refuse(*refusal)
            return
        self._route = host.register(self)
        if host.trace is not None:
            host.trace.asked(self._route, request)
        self.wanted = host.machine.open(self._route, request, principal=principal, now=clock())
        if not self.wanted:
            self._received()

    def feed(self, data: bytes, *, end: bool = False) -> None:
        """Take a part of the body while it is ``wanted``; ``end`` is True with the last part."""
        if not self.wanted or self._route is None:
            return
        if self._host.trace is not None:
            self._host.trace.request_body(self._route, data, end=end)
        self._host.machine.body(self._route, data, end=end, now=clock())
        self._woken = False
        if end:
            self._received()
        elif data:
            self._fed += len(data)
            self.deadline = self._host.settings.body_deadline(self._began, self._fed)
            self._host.flush_soon()
            # A host that has not begun yet wakes no call.
            if self._woken or self._fed > self._host.machine.settings.max_body:
                self._received()  # it is refused before its end

    def ready(self) -> list[Action]:
        """Return the actions that can be carried out now."""
        taken = list(self._actions)
        self._actions.clear()
        if not taken and self._route is not None:
            host = self._host
            taken += host.machine.data_to_send(self._route, host.settings.write_size)
            if host.trace is not None:
                host.trace.replied(taken)
            if taken and isinstance(taken[-1], HttpEnd):
                host.unregister(self._route)
                self._route = None
            if self._request.method == "HEAD":
                taken = [action for action in taken if not isinstance(action, HttpChunk)]
            host.flush_soon()  # senders that waited for room have some now
        if taken:
            self._begun = True
            self.deadline = clock() + self._host.settings.write_time
        return taken

    async def actions(self) -> list[Action]:
        """Wait for the next actions and return them in order; [] at the end."""
        if not self.wanted:
            self.deadline = math.inf
        self._waiting = True
        try:
            while not (taken := self.ready()) and self._route is not None:
                self._signal = anyio.Event()
                await self._signal.wait()
        except BaseException:
            self.close()
            raise
        finally:
            self._waiting = False
        return taken

    def __aiter__(self) -> "HttpCall":
        return self

    async def __anext__(self) -> Action:
        if not self._actions:
            self._actions.extend(await self.actions())
        if not self._actions:
            self.close()
            raise StopAsyncIteration
        action = self._actions.popleft()
        if isinstance(action, HttpEnd):
            self.close()
        return action

    def close(self) -> None:
        """Leave the call, its reply complete or not; may be repeated.

        An incomplete reply means that the client has left: its modern request is cancelled, a
        legacy one goes on.
        """
        self.wanted = 0
        self._actions.clear()
        self._leave()
        self._host.discard(self)

    def __enter__(self) -> "HttpCall":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Carrier interface

    @property
    def idle(self) -> bool:
        """Implement :attr:`Carrier.idle <mcpcore_transports.http.server.host.Carrier.idle>`."""
        return False

    def wake(self) -> None:
        """Implement :meth:`Carrier.wake <mcpcore_transports.http.server.host.Carrier.wake>`."""
        self._woken = True
        if self._signal is not None:
            self._signal.set()

    def expire(self) -> None:
        """Implement :meth:`Carrier.expire <mcpcore_transports.http.server.host.Carrier.expire>`."""
        if self.wanted:
            self._give_up(408, "the body of the request took too long")
        else:
            self._give_up(503, "the reply was not taken in time")

    def stop(self) -> None:
        """Implement :meth:`Carrier.stop <mcpcore_transports.http.server.host.Carrier.stop>`."""
        if not self._stopped:
            self._stopped = True
            self._give_up(503, "the server is shutting down")

    def _give_up(self, status: int, message: str) -> None:
        self.wanted = 0
        self._leave()
        if not self._begun:
            self._refuse(status, message)
        else:
            self._host.discard(self)
        if self.over is not None and not self._waiting:
            self.over.cancel()

    def _received(self) -> None:
        """Handle the end of the body, or a reply before it."""
        self.wanted = 0
        self.deadline = clock() + self._host.settings.write_time
        self._host.flush_soon()

    def _leave(self) -> None:
        if self._route is not None:
            route, self._route = self._route, None
            self._host.unregister(route)
            if self._host.trace is not None:
                self._host.trace.left(route)
            self._host.machine.disconnect(route, now=clock())
            self._host.flush_soon()
        self.wake()

    def _refuse(self, status: int, message: str) -> None:
        if self._host.trace is not None:
            self._host.trace.refused(status, message)
        extra = self._host.machine.readable(self._request)
        self._actions.extend(refused(self._request, status, message, extra))
        self.deadline = clock() + self._host.settings.write_time


def refused(
    request: HttpRequest, status: int, message: str, extra: Iterable[tuple[bytes, bytes]] = ()
) -> list[Action]:
    """Return the reply to a request that does not reach the machine; ``extra``: more headers."""
    headers, body = error_reply(status, message, named_revision(request), extra)
    reply: list[Action] = [HttpHead(_REFUSED, status, headers)]
    if request.method != "HEAD":
        reply.append(HttpChunk(_REFUSED, body))
    return [*reply, HttpEnd(_REFUSED, close=True)]


def head_refusal(request: HttpRequest, limits: HeadLimits) -> tuple[int, str] | None:
    """Return status and message if a head exceeds the limits of our own driver, else None.

    A framework may allow more than those.
    """
    names = {name for name, _ in request.headers}
    if CONTENT_LENGTH in names and TRANSFER_ENCODING in names:
        return 400, "Content-Length and Transfer-Encoding together are ambiguous"
    if len(request.path) + len(request.query) > limits.first_line:
        return 414, f"the request target is longer than {limits.first_line} bytes"
    if len(request.headers) > limits.count:
        return 431, f"more than {limits.count} header lines"
    size = sum(len(name) + len(value) for name, value in request.headers)
    if size > limits.size:
        return 431, f"the header section is larger than {limits.size} bytes"
    return None
