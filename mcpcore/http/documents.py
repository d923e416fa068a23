"""Documents that everybody may read at a fixed path, such as protected resource metadata.

They stand beside an endpoint of any binding: without authentication, the same for every Host, and
readable for every web page.

Sources: RFC 9728 section 3 (metadata by GET), RFC 9110 sections 9.3.7 and 15.5.6 (OPTIONS, 405);
the Fetch standard, "CORS protocol".
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from mcpcore.http import headers
from mcpcore.http.messages import HttpRequest
from mcpcore.spec.refusals import METHOD_NOT_ALLOWED

_JSON = (headers.CONTENT_TYPE, headers.JSON.encode())
_METHODS = b"GET, HEAD"
_ALLOWED = (headers.ALLOW, b"GET, HEAD, OPTIONS")
_ANY_ORIGIN = (b"access-control-allow-origin", b"*")
PREFLIGHT_AGE = (b"access-control-max-age", b"600")
_PREFLIGHT = (
    *(_ANY_ORIGIN, _ALLOWED, PREFLIGHT_AGE),
    (b"access-control-allow-methods", _METHODS),
    (b"access-control-allow-headers", b"*"),
)


class DocumentReply(Struct, frozen=True):
    """Reply to a request for a document; without ``body`` if the method is OPTIONS, or refused."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""


Page = Callable[[HttpRequest], DocumentReply]
"""Function that makes a page anew for each request."""


class Documents(Struct, frozen=True):
    """JSON documents by path; ``age``: seconds for which they may be cached."""

    by_path: Mapping[str, bytes] = {}
    age: int = 3600

    def reply(self, head: HttpRequest) -> DocumentReply | None:
        """Return the reply to a request, None if there is no document at its path.

        For a method that documents do not take it is a 405.
        """
        document = self.by_path.get(head.path)
        if document is None:
            return None
        if head.method in ("GET", "HEAD"):
            age = (headers.CACHE_CONTROL, b"public, max-age=%d" % self.age)
            return DocumentReply(200, (_JSON, _ANY_ORIGIN, age), document)
        if head.method == "OPTIONS":
            return DocumentReply(204, _PREFLIGHT)
        return DocumentReply(METHOD_NOT_ALLOWED.status, (_ALLOWED,))
