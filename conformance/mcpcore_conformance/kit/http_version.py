"""HTTP version of a server, for the cases about features that HTTP/1.0 does not have."""

from mcpcore_conformance.kit.endpoint import Endpoint

_OLD = b"HTTP/1.0 "


async def since_http_1_1(point: Endpoint) -> None:
    """End the case where the server answers with HTTP/1.0.

    Such a server keeps no connection open (RFC 9112, section 9.3), and need not know of Expect
    (RFC 9110, section 10.1.1).
    """
    if not _begun(point):
        # where no conversation has to be opened, nothing was said so far
        await point.post(point.message())
    if any(each.startswith(_OLD) for each in _begun(point)):
        point.talk.skip("the server speaks HTTP/1.0")


def _begun(point: Endpoint) -> list[bytes]:
    """Return the first bytes of each answer of the server."""
    first: dict[tuple[int, int], bytes] = {}
    for line in point.talk.log.lines():
        if line.kind == "bytes" and not line.sent:
            first.setdefault((line.wire, line.exchange), line.data)
    return [*first.values()]
