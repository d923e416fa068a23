"""Makers of faults of clients that sign in: what they ask of whom, and what they overlook."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from conformance.mutants.client_fault import ClientBreaks, ClientFault, Value
from conformance.mutants.client_faults import arrives, heads, hooked, repaired
from conformance.mutants.edits import put
from mcpcore_conformance.kit.client_wire import Arrival, Asked
from mcpcore_conformance.kit.heard import Headers, Text, header
from mcpcore_conformance.kit.messages import encode

Params = dict[str, str]


def _params(text: str) -> Params:
    return dict(parse_qsl(text, keep_blank_values=True))


def _is_sign_in(asked: Asked) -> bool:
    return asked.method == "GET" and "response_type=" in asked.target


def asks(edit: Callable[[Params], Params]) -> ClientBreaks:
    """Edit the parameters of authorization requests."""

    def asked(asked: Asked) -> Iterable[Asked]:
        if _is_sign_in(asked):
            path, _, query = asked.target.partition("?")
            asked.target = f"{path}?{urlencode(edit(_params(query)))}"
        return (asked,)

    return heads(asked)


def redeems(edit: Callable[[Params], Params], grant: str = "") -> ClientBreaks:
    """Edit the parameters of token requests, of a grant type or of all."""

    def text(found: Text) -> Iterable[Arrival]:
        form = _params(found.data.decode()) if b"grant_type=" in found.data else {}
        if not form or grant not in ("", form["grant_type"]):
            return (found,)
        return (Text(urlencode(edit(form)).encode(), found.exchange),)

    return arrives(Text, text)


def having(name: str, value: str) -> Callable[[Params], Params]:
    """Put in a parameter."""
    return put(**{name: value})


def registers(edit: Callable[[Value], Value]) -> ClientBreaks:
    """Edit the metadata of registrations."""
    return hooked(said=lambda value: (edit(value) if "redirect_uris" in value else value,))


def looks_at(old: str, new: str, *, end: str = "") -> ClientBreaks:
    """Ask for another place: paths that begin with ``old``, and end so, are ``new``."""

    def change(asked: Asked) -> Iterable[Asked]:
        path, mark, query = asked.target.partition("?")
        if path.startswith(old) and path.endswith(end):
            asked.target = new + mark + query
        return (asked,)

    return heads(change)


def overlooks(member: str, edit: Callable[[Value], Value]) -> ClientBreaks:
    """Read a document that has a member as if it were another one."""
    return repaired(lambda value: member in value, edit)


def reads_in_its_place(member: str, **changes: Any) -> ClientBreaks:
    """Read other members in a document that has a member."""
    return overlooks(member, put(**changes))


class _Returns(ClientFault):
    edit: Callable[[Params, Params, str], Params]
    _request: Params = {}
    _issuer: str = ""

    def asked(self, asked: Asked) -> Iterable[Asked]:
        if _is_sign_in(asked):
            self._request = _params(asked.target.partition("?")[2])
        return (asked,)

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and "authorization_endpoint" in value:
            self._issuer = value["issuer"]
        return payload

    def headed(self, exchange: int, status: int, headers: Headers) -> Headers:
        return [(name, self._changed(value, name)) for name, value in headers]

    def _changed(self, value: str, name: str) -> str:
        place, mark, query = value.partition("?")
        if name != "location" or not ("code=" in query or "error=" in query):
            return value
        return place + mark + urlencode(self.edit(_params(query), self._request, self._issuer))


def returns(edit: Callable[[Params, Params, str], Params]) -> ClientBreaks:
    """Take another response of the authorization endpoint than the one that was sent.

    ``edit`` is given that one, the parameters of the request, and the issuer.
    """
    return lambda: _Returns(edit)


class _KeepsFirst(ClientFault):
    """Uses what it has got first wherever a later one belongs."""

    names: Sequence[str]
    """Of parameters of requests, and of headers."""
    _first: Params = {}

    def _kept(self, params: Params) -> Params:
        for name in self.names:
            if name in params:
                params[name] = self._first.setdefault(name, params[name])
        return params

    def asked(self, asked: Asked) -> Iterable[Asked]:
        if _is_sign_in(asked):
            path, _, query = asked.target.partition("?")
            asked.target = f"{path}?{urlencode(self._kept(_params(query)))}"
        elif asked.target.startswith("/mcp"):
            asked.headers = [
                (name, self._kept({name: value})[name]) for name, value in asked.headers
            ]
        return (asked,)

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        if isinstance(arrival, Text) and b"grant_type=" in arrival.data:
            form = self._kept(_params(arrival.data.decode()))
            return (Text(urlencode(form).encode(), arrival.exchange),)
        return (arrival,)


def keeps_first(*names: str) -> ClientBreaks:
    """Use the first value of parameters of requests, or of headers to the server, for ever."""
    return lambda: _KeepsFirst(names)


class _Recalls(ClientFault):
    """Knows every request, to send it once more."""

    heads: dict[int, Asked] = {}
    bodies: dict[int, bytes] = {}

    def asked(self, asked: Asked) -> Iterable[Asked]:
        self.heads[asked.exchange] = asked
        return (asked,)

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        if isinstance(arrival, Text):
            self.bodies[arrival.exchange] = arrival.data
        return (arrival,)

    def again(self, exchange: int, target: str, host: str = "") -> None:
        """Send a request once more, perhaps to another place."""
        asked = self.heads[exchange]
        kept = [each for each in asked.headers if each[0] not in ("content-length", "host")]
        host = host or header(asked.headers, "host") or ""
        made = Asked(0, asked.method, target, [*kept, ("host", host)])
        self.ask(made, self.bodies.get(exchange, b""))


class FollowsRedirects(_Recalls):
    """Follows a redirect with all that it has."""

    def headed(self, exchange: int, status: int, headers: Headers) -> Headers:
        """See ClientFault."""
        location = header(headers, "location")
        known = location is not None and exchange in self.heads
        if status in (302, 307, 308) and known and location is not None and "code=" not in location:
            parts = urlsplit(location)
            self.again(exchange, parts.path, parts.netloc)
        return headers


class Repeats(_Recalls):
    """Sends a token request that was refused once more."""

    _repeated = False

    def headed(self, exchange: int, status: int, headers: Headers) -> Headers:
        """See ClientFault."""
        if status >= 400 and exchange in self.bodies and not self._repeated:
            self._repeated = True
            self.again(exchange, self.heads[exchange].target)
        return headers


class Insists(ClientFault):
    """Makes a call that is forbidden again and again."""

    _left = 12
    _head: Asked | None = None
    _call = b""

    def asked(self, asked: Asked) -> Iterable[Asked]:
        """See ClientFault."""
        if asked.method == "POST" and header(asked.headers, "authorization") is not None:
            self._head = asked
        return (asked,)

    def said(self, value: Value) -> Iterable[Value | bytes]:
        """See ClientFault."""
        if value.get("method") == "tools/call":
            self._call = encode(value)
        return (value,)

    def headed(self, exchange: int, status: int, headers: Headers) -> Headers:
        """See ClientFault."""
        if status == 403 and self._left and self._head is not None:
            self._left -= 1
            kept = [each for each in self._head.headers if each[0] != "content-length"]
            self.ask(Asked(0, "POST", self._head.target, kept), self._call)
        return headers


class _Asked(ClientFault):
    concerns: Callable[[Any], bool]
    target: str

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and self.concerns(value):
            self.ask(Asked(0, "GET", self.target, [("host", "127.0.0.1")]))
        return payload


def asks_anyway(concerns: Callable[[Value], bool], target: str) -> ClientBreaks:
    """Send a request of its own when it is told something that concerns it."""
    return lambda: _Asked(concerns, target)
