"""Heads of responses for a client's connections: repeated heads are parsed once."""

from collections import OrderedDict

from msgspec import Struct

from mcpcore_transports.http1.heads import ResponseHead, parse_response

_KNOWN = 32
"""Number of heads that are cached, each of at most ``_SHORT`` bytes."""
_SHORT = 2048
_EVENT_STREAM = b"text/event-stream"


class Response(Struct, frozen=True):
    """Head of a response with the facts for reading its body; must not be changed."""

    head: ResponseHead
    codings: list[bytes]
    """Values of Content-Encoding."""
    lasting: bool
    """True if the body is a stream of events, which may take any time."""


class ResponseParser:
    """Parser for the heads of one server's responses.

    A server that answers the same calls sends the same heads, byte for byte, except for a Date that
    changes once a second.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Response] = OrderedDict()

    def parse(self, head: bytes) -> Response:
        """Parse the head of a final response (not 1xx).  Raises BadHead."""
        known = self._known.get(head)
        if known is None:
            known = _response(parse_response(head))
            if len(head) <= _SHORT:
                self._known[head] = known
                if len(self._known) > _KNOWN:
                    self._known.popitem(last=False)
        return known


def _response(head: ResponseHead) -> Response:
    lasting = False
    codings: list[bytes] = []
    for name, value in head.headers:
        if name == b"content-encoding":
            codings.append(value)
        elif name == b"content-type" and _EVENT_STREAM in value.lower():
            lasting = True
    return Response(head, codings, lasting)
