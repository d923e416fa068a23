"""Cases of RFC 9112: where a body ends, so that nothing can be smuggled behind it."""

from mcpcore_conformance.cases.rfc9112 import (
    CLOSE,
    NOT_IMPLEMENTED,
    check_not_smuggled,
    check_refused_once,
    check_served_once,
    poured,
    smuggled,
    statuses,
)
from mcpcore_conformance.kit.asking import need
from mcpcore_conformance.kit.endpoint import BAD_REQUEST, OK, SINCE_STREAMABLE, endpoint
from mcpcore_conformance.kit.model import STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check
from mcpcore_conformance.kit.wire import Poured

page = Page("rfc9112")
case = page.server(SINCE_STREAMABLE, bindings=STREAMABLE)

CHUNKED = b"Transfer-Encoding: chunked"
TOO_LARGE = 413
LENGTH_REQUIRED = 411
"""The status of a server that takes no body without Content-Length, as it may (section 6.3)."""


def chunks(payload: bytes, *, extension: bytes = b"") -> bytes:
    """A body in two chunks."""
    middle = len(payload) // 2
    made = b""
    for part in (payload[:middle], payload[middle:], b""):
        made += b"%x%s\r\n%s\r\n" % (len(part), extension, part)
    return made


def check_put_together(found: Poured, what: str) -> None:
    """Check that one request with chunks was served; not of a server that wants a length."""
    need(statuses(found) != [LENGTH_REQUIRED], "the server wants a Content-Length (411)")
    check_served_once(found, what)


# Lengths


@case.must(
    "section-6.1/length-and-coding",
    "One response, 400 or by the chunks alone, and the end of the connection.",
)
async def length_and_coding(talk: ServerTalk) -> None:
    """A request with Content-Length and Transfer-Encoding is the last on its connection."""
    point = await endpoint(talk)
    for extra in ((CHUNKED,), (b"Transfer-Encoding : chunked",), (b"transfer-encoding:chunked",)):
        payload = point.plain_payload()
        body = chunks(payload) + smuggled(point)
        data = point.bytes_of(payload, *extra, body=body)
        found = await poured(talk, data, point=point)
        what = "a request with Content-Length and Transfer-Encoding"
        check_not_smuggled(found, what)
        check(len(statuses(found)) == 1, f"{what} got the statuses {statuses(found)}")
        check(found.closed, f"the connection stayed open after {what}")


@case.must("section-6.3/lengths-differ", "400, and the end of the connection.")
async def lengths_differ(talk: ServerTalk) -> None:
    """A request with two different Content-Lengths is refused."""
    point = await endpoint(talk)
    payload = point.plain_payload()
    size = len(payload)
    for lines in (
        (b"Content-Length: %d" % size, b"Content-Length: %d" % (size + 5)),
        (b"Content-Length: 0", b"Content-Length: %d" % size),
        (b"Content-Length: %d, %d" % (size, size + 1),),
    ):
        data = point.bytes_of(payload, *lines, length=False) + smuggled(point)
        found = await poured(talk, data, point=point)
        check_not_smuggled(found, "two lengths")
        check_refused_once(found, f"a request with {b' and '.join(lines).decode()}")


@case.must("section-6.3/length-invalid", "400, and the end of the connection.")
async def length_invalid(talk: ServerTalk) -> None:
    """A Content-Length that is no number of digits is refused."""
    point = await endpoint(talk)
    payload = point.plain_payload()
    size = len(payload)
    for value in (
        b"+%d" % size,
        b"-1",
        b"0x%x" % size,
        b"%d.0" % size,
        b"%d %d" % (size, size),
        b"1e2",
        b"kit",
        b"9" * 40,
    ):
        data = point.bytes_of(payload, b"Content-Length: " + value, length=False)
        found = await poured(talk, data + smuggled(point), point=point)
        check_not_smuggled(found, f"Content-Length: {value.decode()}")
        check_refused_once(found, f"Content-Length: {value.decode()}", (BAD_REQUEST, TOO_LARGE))


@case.must(
    "section-6.3/coding-not-chunked",
    "400 (501 for a coding that is not known), or 411, and the end of the connection.",
)
async def coding_not_chunked(talk: ServerTalk) -> None:
    """A request whose last transfer coding is not chunked is refused."""
    point = await endpoint(talk)
    allowed = (BAD_REQUEST, LENGTH_REQUIRED, NOT_IMPLEMENTED)
    for value in (b"kit", b"chunked, identity", b"xchunked", b"chunked, chunked", b"\x0bchunked"):
        payload = point.plain_payload()
        line = b"Transfer-Encoding: " + value
        data = point.bytes_of(payload, line, length=False, body=chunks(payload))
        found = await poured(talk, data + smuggled(point), point=point)
        check_not_smuggled(found, f"Transfer-Encoding: {value!r}")
        check_refused_once(found, f"Transfer-Encoding: {value!r}", allowed)


# Chunks


@case.must(
    "section-7.1/chunked-served",
    "Served as if the body had come whole; where a length is wanted, 411.",
)
async def chunked_served(talk: ServerTalk) -> None:
    """A body in chunks is put together."""
    point = await endpoint(talk)
    payload = point.plain_payload()
    data = point.bytes_of(payload, CHUNKED, CLOSE, length=False, body=chunks(payload))
    check_put_together(await poured(talk, data, point=point), "a body in chunks")


@case.must(
    "section-7.1.1/extensions-ignored",
    "Served: an extension that is not known means nothing. Where a length is wanted, 411.",
)
async def extensions_ignored(talk: ServerTalk) -> None:
    """Extensions of chunks are passed over."""
    point = await endpoint(talk)
    payload = point.plain_payload()
    body = chunks(payload, extension=b";kit=1")
    data = point.bytes_of(payload, CHUNKED, CLOSE, length=False, body=body)
    check_put_together(await poured(talk, data, point=point), "chunks with an extension")


@case.must(
    "section-7.1/size-invalid",
    "400 (413 for what is too large, 411), and the end of the connection.",
)
async def size_invalid(talk: ServerTalk) -> None:
    """A chunk size that is none is refused."""
    point = await endpoint(talk)
    payload = point.plain_payload()
    for size in (b"xyz", b"-1", b"+5", b"0x5", b"5 5"):
        body = size + b"\r\n" + payload + b"\r\n0\r\n\r\n"
        data = point.bytes_of(payload, CHUNKED, length=False, body=body)
        found = await poured(talk, data + smuggled(point), point=point)
        check_not_smuggled(found, f"a chunk of size {size!r}")
        allowed = (BAD_REQUEST, LENGTH_REQUIRED, TOO_LARGE)
        check_refused_once(found, f"a chunk of size {size!r}", allowed)


@case.must("section-7.1/size-overflows", "Not served; 400 or 413 above all.")
async def size_overflows(talk: ServerTalk) -> None:
    """A chunk size that fits into no number of the machine is not taken for another one."""
    point = await endpoint(talk)
    payload = point.plain_payload()
    for size in (b"F" * 17, b"1" + b"0" * 16, b"1" + b"0" * 14 + b"%x" % len(payload)):
        body = size + b"\r\n" + payload + b"\r\n0\r\n\r\n"
        data = point.bytes_of(payload, CHUNKED, length=False, body=body)
        found = await poured(talk, data + smuggled(point), point=point)
        what = f"a chunk of size {size.decode()}"
        check_not_smuggled(found, what)
        got = statuses(found)
        check(OK not in got, f"{what} was served")
        talk.should(
            got in ([BAD_REQUEST], [LENGTH_REQUIRED], [TOO_LARGE]), f"{what} got the statuses {got}"
        )


@case.should("section-7.1/longer-than-its-size", "400, and the end of the connection.")
async def longer_than_size(talk: ServerTalk) -> None:
    """A chunk that does not end where its size says is refused."""
    point = await endpoint(talk)
    payload = point.plain_payload()
    body = b"%x\r\n" % (len(payload) - 3) + payload + b"\r\n0\r\n\r\n"
    data = point.bytes_of(payload, CHUNKED, length=False, body=body)
    found = await poured(talk, data + smuggled(point), point=point)
    check_not_smuggled(found, "a chunk that is longer than its size")
    allowed = (BAD_REQUEST, LENGTH_REQUIRED)
    check_refused_once(found, "a chunk that is longer than its size", allowed)


@case.may("section-7.1/bare-lf-in-chunks", "400: no other reader should find a line there.")
async def bare_lf_in_chunks(talk: ServerTalk) -> None:
    """Chunk sizes that end in LF alone are refused."""
    point = await endpoint(talk)
    payload = point.plain_payload()
    body = b"%x\n" % len(payload) + payload + b"\r\n0\r\n\r\n"
    data = point.bytes_of(payload, CHUNKED, CLOSE, length=False, body=body)
    found = await poured(talk, data, point=point)
    allowed = (BAD_REQUEST, LENGTH_REQUIRED)
    check_refused_once(found, "a chunk size that ends in LF", allowed)
