"""Cases of RFC 9112: HTTP/1.1 as everybody has to read it, so that nothing can be smuggled.

What is poured in could be read in two ways.  One response and the end of the connection are fine;
a second response means that a part of the first request was taken for another one.
"""

from collections.abc import Iterable

from mcpcore_conformance.kit.bindings.event_stream import Reader
from mcpcore_conformance.kit.endpoint import (
    BAD_REQUEST,
    CLIENT_ERRORS,
    OK,
    SERVER_ERRORS,
    SINCE_STREAMABLE,
    Endpoint,
    OpenEndpoint,
    endpoint,
    final,
)
from mcpcore_conformance.kit.heard import Text, header
from mcpcore_conformance.kit.http_version import since_http_1_1
from mcpcore_conformance.kit.messages import Kind, parse
from mcpcore_conformance.kit.model import STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check, need
from mcpcore_conformance.kit.wire import Plain, Poured

page = Page("rfc9112")
case = page.server(SINCE_STREAMABLE, bindings=STREAMABLE)

CLOSE = b"Connection: close"
NOT_IMPLEMENTED, URI_TOO_LONG, NO_SUCH_VERSION = 501, 414, 505


def statuses(found: Poured) -> list[int]:
    """Of the final responses."""
    return [each.status for each in final(found)]


def check_refused_once(
    found: Poured, what: str, allowed: Iterable[int] = (BAD_REQUEST,), *, closed: bool = True
) -> None:
    """Check that there was one refusal, and the connection closed behind it."""
    got = statuses(found)
    wanted = list(allowed)
    check(
        len(got) == 1 and got[0] in wanted,
        f"{what} got the statuses {got}, not one of {wanted} once",
    )
    check(not closed or found.closed, f"the connection stayed open after {what}")


def check_served_once(found: Poured, what: str) -> None:
    """Check that one request was served."""
    got = statuses(found)
    check(got == [OK], f"{what} got the statuses {got}, not 200 once")


async def poured(
    talk: ServerTalk, *pieces: bytes, point: Endpoint | None = None, within: float = 1.0
) -> Poured:
    """Pour bytes, and see that the server still serves others."""
    point = point or await endpoint(talk)
    found = await point.pour(*pieces, within=within)
    await point.link.alive()
    return found


def smuggled(point: Endpoint) -> bytes:
    """A request that hides in the body of another one."""
    return point.bytes_of(point.plain_payload("kit-smuggled"), CLOSE)


def check_not_smuggled(found: Poured, what: str) -> None:
    """Check that no request within, or behind, another one was served."""
    for each in final(found):
        check(b"kit-smuggled" not in each.body, f"{what}: what came behind it was served")


# Lines and heads


@case.should("section-2.2", "The request is served or refused with 400, as one.")
async def bare_lf(talk: ServerTalk, point: OpenEndpoint) -> None:
    """Lines that end in LF alone do not make two requests of one."""
    payload = point.plain_payload()
    head = point.bytes_of(payload, b"X-Kit: one", CLOSE, body=b"").replace(b"\r\n", b"\n")
    mixed = point.bytes_of(payload, b"X-Kit: one\nX-Other: two", CLOSE)
    for data in (head + payload, mixed):
        got = statuses(await poured(talk, data, point=point))
        check(
            len(got) == 1 and (got[0] == OK or got[0] in CLIENT_ERRORS),
            f"a head whose lines end in LF got the statuses {got}",
        )


@case.should("section-2.2", "An empty line before the request line is passed over.")
async def empty_line_first(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A request behind an empty line is served."""
    data = point.bytes_of(point.plain_payload(), CLOSE)
    check_served_once(await poured(talk, b"\r\n" + data, point=point), "a request behind CRLF")


@case.should("section-2.3", "505, or 400.")
async def unknown_version(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A version of HTTP that nobody has is refused."""
    data = point.bytes_of(point.plain_payload(), CLOSE).replace(b" HTTP/1.1", b" HTTP/9.9", 1)
    found = await poured(talk, data, point=point)
    check_refused_once(found, "HTTP/9.9", (BAD_REQUEST, NO_SUCH_VERSION))


@case.should("section-3", "400, or the end of the connection; others are served on.")
async def no_http(talk: ServerTalk, point: OpenEndpoint) -> None:
    """What is no HTTP is not waited for."""
    for what, data in (
        ("a greeting of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)),
        ("a line that is none", b"\x00\xff\xfe kit\r\n\r\n"),
        ("JSON", b'{"jsonrpc":"2.0","id":1,"method":"ping"}\r\n\r\n'),
    ):
        found = await poured(talk, data, point=point)
        got = statuses(found)
        check(all(each in CLIENT_ERRORS for each in got), f"{what} got the statuses {got}")
        check(found.closed, f"the connection stayed open after {what}")


@case.should("section-3", "405, 501 or another 4xx.")
async def unknown_method(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A method that nobody knows is refused."""
    data = point.bytes_of(point.plain_payload(), CLOSE, method="KIT")
    got = statuses(await poured(talk, data, point=point))
    fine = len(got) == 1 and (got[0] in CLIENT_ERRORS or got[0] == NOT_IMPLEMENTED)
    check(fine, f"the method KIT got the statuses {got}")


@case.must("section-3", "414; another 4xx is weak.")
async def target_too_long(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A target that is too long to be read is refused."""
    target = f"{point.wire.path}?{'x' * 200_000}"
    data = point.bytes_of(point.plain_payload(), CLOSE, target=target)
    got = statuses(await poured(talk, data, point=point))
    need(got != [OK], "the server reads a target of 200 kB")
    check(len(got) == 1 and got[0] in CLIENT_ERRORS, f"a target of 200 kB got the statuses {got}")
    talk.should(got == [URI_TOO_LONG], f"a target of 200 kB got status {got[0]}, not 414")


@case.must("section-3.2", "400.")
async def host_missing(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A request without Host is refused."""
    data = point.bytes_of(point.plain_payload(), CLOSE, host=None)
    check_refused_once(await poured(talk, data, point=point), "a request without Host")


@case.must("section-3.2", "400.")
async def host_twice(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A request with two lines of Host is refused, be they alike or not."""
    for other in (point.wire.authority.encode(), b"evil.example"):
        data = point.bytes_of(point.plain_payload(), b"Host: " + other, CLOSE)
        check_refused_once(await poured(talk, data, point=point), "a request with two Hosts")


@case.must("section-3.2", "400; 403 and 421 refuse it as well.")
async def host_invalid(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A Host that is no name is refused."""
    for host in (b"a b", b"127.0.0.1:port", b"user@127.0.0.1", b"127.0.0.1/path", b"[::1"):
        data = point.bytes_of(point.plain_payload(), CLOSE, host=host)
        found = await poured(talk, data, point=point)
        check_refused_once(found, f"Host: {host.decode()}", (BAD_REQUEST, 403, 421))


@case.must("section-3.2.2", "Served as if the path alone were there.")
async def absolute_form(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A target with scheme and host is served."""
    data = point.bytes_of(point.plain_payload(), CLOSE, target=point.wire.url)
    check_served_once(await poured(talk, data, point=point), "a target in absolute form")


@case.must("section-5.1", "400, and the end of the connection.")
async def space_before_colon(talk: ServerTalk, point: OpenEndpoint) -> None:
    """White space between a header's name and its colon is refused."""
    payload = point.plain_payload()
    for line in (b"X-Kit : one", b"Transfer-Encoding : chunked", b"X-Kit\t: one"):
        found = await poured(talk, point.bytes_of(payload, line, CLOSE), point=point)
        check_refused_once(found, f"the header line {line.decode()!r}")


@case.must("section-5.2", "400, or served with the fold taken for a blank.")
async def folded_line(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A header line that goes on in the next is refused, or read as one."""
    payload = point.plain_payload()
    for line in (b"X-Kit: one\r\n two", b"X-Kit: one\r\n\tTransfer-Encoding: chunked"):
        got = statuses(await poured(talk, point.bytes_of(payload, line, CLOSE), point=point))
        check(got in ([BAD_REQUEST], [OK]), f"a folded line got the statuses {got}")


# Connections


@case.must("section-9.3.2", "The responses come in the order of the requests.")
async def pipelined_in_order(talk: ServerTalk, point: OpenEndpoint) -> None:
    """Requests that come at once are answered in their order."""
    await since_http_1_1(point)
    ids = ["kit-a", "kit-b", "kit-c"]
    data = b""
    for identifier in ids:
        extra = [CLOSE] if identifier == ids[-1] else []
        data += point.bytes_of(point.plain_payload(identifier), *extra)
    found = await poured(talk, data, point=point)
    responses = final(found)
    if any(map(_promises, responses)):
        talk.skip("the server closes its streams before it answers: their order tells nothing")
    got = [_id_of(each) for each in responses]
    check(got, "requests that came at once got no response")
    check(got == ids[: len(got)], f"the responses have the ids {got}, not {ids}")
    short = f"only {len(got)} of {len(ids)} requests were answered"
    if got != ids and "close" in (header(responses[-1].headers, "connection") or "").lower():
        # RFC 9112, section 9.6: what comes behind it is not served
        talk.note(f"{short}: the last response says Connection: close")
    else:
        talk.should(got == ids, short)


def _promises(response: Plain) -> bool:
    """Whether it is a stream without an answer that can be picked up."""
    kind = (header(response.headers, "content-type") or "").partition(";")[0].strip().lower()
    if kind != "text/event-stream" or _id_of(response) is not None:
        return False
    return any(each.id for each in Reader().feed(response.body))


def _id_of(response: Plain) -> object:
    kind = (header(response.headers, "content-type") or "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        return parse(Text(response.body)).id
    events = Reader().feed(response.body)
    found = (parse(Text(each.data)) for each in events if each.data and not each.comment)
    ids = [each.id for each in found if each.kind in (Kind.RESULT, Kind.ERROR)]
    return ids[-1] if ids else None


@case.must("section-9.6/close-is-the-last", "One response, then the end of the connection.")
async def close_is_last(talk: ServerTalk, point: OpenEndpoint) -> None:
    """Nothing behind a request with Connection: close is served."""
    data = point.bytes_of(point.plain_payload(), CLOSE)
    found = await poured(talk, data + smuggled(point), point=point)
    check_not_smuggled(found, "behind Connection: close")
    check(found.closed, "the connection stayed open after Connection: close")
    got = statuses(found)
    check(len(got) == 1 and got[0] not in SERVER_ERRORS, f"the statuses are {got}")


# Where a body ends, so that nothing can be smuggled behind it

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
    "section-6.1", "One response, 400 or by the chunks alone, and the end of the connection."
)
async def length_and_coding(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A request with Content-Length and Transfer-Encoding is the last on its connection."""
    for extra in ((CHUNKED,), (b"Transfer-Encoding : chunked",), (b"transfer-encoding:chunked",)):
        payload = point.plain_payload()
        body = chunks(payload) + smuggled(point)
        data = point.bytes_of(payload, *extra, body=body)
        found = await poured(talk, data, point=point)
        what = "a request with Content-Length and Transfer-Encoding"
        check_not_smuggled(found, what)
        check(len(statuses(found)) == 1, f"{what} got the statuses {statuses(found)}")
        check(found.closed, f"the connection stayed open after {what}")


@case.must("section-6.3", "400, and the end of the connection.")
async def lengths_differ(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A request with two different Content-Lengths is refused."""
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


@case.must("section-6.3", "400, and the end of the connection.")
async def length_invalid(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A Content-Length that is no number of digits is refused."""
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
    "section-6.3",
    "400 (501 for a coding that is not known), or 411, and the end of the connection.",
)
async def coding_not_chunked(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A request whose last transfer coding is not chunked is refused."""
    allowed = (BAD_REQUEST, LENGTH_REQUIRED, NOT_IMPLEMENTED)
    for value in (b"kit", b"chunked, identity", b"xchunked", b"chunked, chunked", b"\x0bchunked"):
        payload = point.plain_payload()
        line = b"Transfer-Encoding: " + value
        data = point.bytes_of(payload, line, length=False, body=chunks(payload))
        found = await poured(talk, data + smuggled(point), point=point)
        check_not_smuggled(found, f"Transfer-Encoding: {value!r}")
        check_refused_once(found, f"Transfer-Encoding: {value!r}", allowed)


# Chunks


@case.must("section-7.1", "Served as if the body had come whole; where a length is wanted, 411.")
async def chunked_served(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A body in chunks is put together."""
    payload = point.plain_payload()
    data = point.bytes_of(payload, CHUNKED, CLOSE, length=False, body=chunks(payload))
    check_put_together(await poured(talk, data, point=point), "a body in chunks")


@case.must(
    "section-7.1.1",
    "Served: an extension that is not known means nothing. Where a length is wanted, 411.",
)
async def extensions_ignored(talk: ServerTalk, point: OpenEndpoint) -> None:
    """Extensions of chunks are passed over."""
    payload = point.plain_payload()
    body = chunks(payload, extension=b";kit=1")
    data = point.bytes_of(payload, CHUNKED, CLOSE, length=False, body=body)
    check_put_together(await poured(talk, data, point=point), "chunks with an extension")


@case.must("section-7.1", "400 (413 for what is too large, 411), and the end of the connection.")
async def size_invalid(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A chunk size that is none is refused."""
    payload = point.plain_payload()
    for size in (b"xyz", b"-1", b"+5", b"0x5", b"5 5"):
        body = size + b"\r\n" + payload + b"\r\n0\r\n\r\n"
        data = point.bytes_of(payload, CHUNKED, length=False, body=body)
        found = await poured(talk, data + smuggled(point), point=point)
        check_not_smuggled(found, f"a chunk of size {size!r}")
        allowed = (BAD_REQUEST, LENGTH_REQUIRED, TOO_LARGE)
        check_refused_once(found, f"a chunk of size {size!r}", allowed)


@case.must("section-7.1", "Not served; 400 or 413 above all.")
async def size_overflows(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A chunk size that fits into no number of the machine is not taken for another one."""
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
async def longer_than_size(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A chunk that does not end where its size says is refused."""
    payload = point.plain_payload()
    body = b"%x\r\n" % (len(payload) - 3) + payload + b"\r\n0\r\n\r\n"
    data = point.bytes_of(payload, CHUNKED, length=False, body=body)
    found = await poured(talk, data + smuggled(point), point=point)
    check_not_smuggled(found, "a chunk that is longer than its size")
    allowed = (BAD_REQUEST, LENGTH_REQUIRED)
    check_refused_once(found, "a chunk that is longer than its size", allowed)


@case.may("section-7.1", "400: no other reader should find a line there.")
async def bare_lf_in_chunks(talk: ServerTalk, point: OpenEndpoint) -> None:
    """Chunk sizes that end in LF alone are refused."""
    payload = point.plain_payload()
    body = b"%x\n" % len(payload) + payload + b"\r\n0\r\n\r\n"
    data = point.bytes_of(payload, CHUNKED, CLOSE, length=False, body=body)
    found = await poured(talk, data, point=point)
    allowed = (BAD_REQUEST, LENGTH_REQUIRED)
    check_refused_once(found, "a chunk size that ends in LF", allowed)
