"""Heads of responses as a client's connections need them: parsed once if they come again."""

from collections import OrderedDict

from msgspec import Struct

from transports.http_heads import ResponseHead, parse_response

_KNOWN = 32
"""So many heads are remembered, each of ``_SHORT`` bytes at most."""
_SHORT = 2048
_EVENT_STREAM = b"text/event-stream"


class Response(Struct, frozen=True):
    """The head of a response, with what decides how its body is read; not to be changed."""

    head: ResponseHead
    codings: list[bytes]
    """The values of Content-Encoding."""
    lasting: bool
    """Its body is a stream of events, which may take any time."""


class ResponseParser:
    """Parses the heads of one server's responses.

    A server that answers the same calls says the same again, byte for byte, but for a Date that
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
