"""Heads of requests that are read at once."""

from mcpcore_transports.http1.heads import RequestHead, RequestParser


def parsed(
    head: bytes,
    peer: str | None = None,
    *,
    scheme: str = "http",
    parser: RequestParser | None = None,
) -> RequestHead:
    """Return what a parser makes of a complete head.  Raises BadHead."""
    found = (parser or RequestParser()).take(bytearray(head), peer, scheme=scheme)
    assert found is not None
    return found
