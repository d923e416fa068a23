"""Cases of RFC 9110: what HTTP means, and how much of it a server should bear."""

from mcpcore_conformance.cases.rfc9112 import (
    CHUNKED,
    CLOSE,
    LENGTH_REQUIRED,
    check_served_once,
    chunks,
    poured,
    statuses,
)
from mcpcore_conformance.kit.endpoint import (
    BAD_REQUEST,
    CLIENT_ERRORS,
    METHOD_NOT_ALLOWED,
    OK,
    SERVER_ERRORS,
    SINCE_STREAMABLE,
    OpenEndpoint,
    check_served,
    endpoint,
    final,
)
from mcpcore_conformance.kit.http_version import since_http_1_1
from mcpcore_conformance.kit.model import MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check, need

page = Page("rfc9110")
case = page.server(SINCE_STREAMABLE, bindings=STREAMABLE)
section_15_5_14 = case.at("section-15.5.14")

CONTINUE, TOO_LARGE, NOT_IMPLEMENTED = 100, 413, 501
TERABYTE = 2**40
HALF_OPEN = 50
"""Connections that say nothing more."""
PATIENT = 13.0
"""Seconds after which nobody should wait for the rest of a head any more."""


@case.must("section-15.5.6", "Allow, with the methods that there are.")
async def allow(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A 405 says which methods there are."""
    for method in ("PUT", "PATCH", "DELETE", "GET"):
        message = point.plain_payload() if method in ("PUT", "PATCH") else None
        headers = [("mcp-protocol-version", talk.revision.name)]
        answer = await point.fetch(method, headers=headers, body=message)
        if answer.status == METHOD_NOT_ALLOWED:
            found = answer.header("allow")
            check(found is not None, f"the 405 for {method} has no Allow")
            assert found is not None
            named = {each.strip().upper() for each in found.split(",")}
            check(method not in named, f"the 405 for {method} says Allow: {found}")


@case.must("section-9.3.2", "A head, and nothing behind it.")
async def head_without_body(talk: ServerTalk, point: OpenEndpoint) -> None:
    """The response to HEAD has no body."""
    data = point.bytes_of(None, CLOSE, method="HEAD")
    found = await point.pour(data, methods=["HEAD"])
    check(len(statuses(found)) == 1, f"HEAD got the statuses {statuses(found)}")
    check(not found.garbled and not final(found)[0].body, "the response to HEAD has a body")
    status = statuses(found)[0]
    if status == NOT_IMPLEMENTED:
        talk.note("the server does not implement HEAD")
        return
    check(status not in SERVER_ERRORS, f"HEAD got status {status}")


@case.must("section-10.1.1", "100, or a final status; then the request is served.")
async def expect_continue(point: OpenEndpoint) -> None:
    """A client that waits for leave to send its body is not kept waiting."""
    await since_http_1_1(point)
    payload = point.plain_payload()
    head = point.bytes_of(payload, b"Expect: 100-continue", CLOSE, body=b"")
    found = await point.pour(head, payload, wait=True)
    check(found.responses, "a request with Expect: 100-continue got nothing")
    first = found.responses[0].status
    if first == CONTINUE:
        check_served_once(found, "a request with Expect: 100-continue")
    else:
        check(first in CLIENT_ERRORS, f"a request with Expect: 100-continue got status {first}")


@case.must("section-5.5", "400, or the value read with a blank in their place.")
async def no_controls(talk: ServerTalk, point: OpenEndpoint) -> None:
    """NUL and CR within a header value do no harm."""
    for value in (b"one\x00two", b"one\rX-Other: two", b"one\r\r\ntwo"):
        data = point.bytes_of(point.plain_payload(), b"X-Kit: " + value, CLOSE)
        got = statuses(await poured(talk, data, point=point))
        fine = got in ([BAD_REQUEST], [OK])
        check(fine, f"a header value with {value!r} got the statuses {got}")


@case.must("section-5.4", "A status of 4xx, 431 above all.")
async def header_too_large(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A header that is larger than a server wishes to read is refused, not waited for."""
    payload = point.plain_payload()
    for what, extra in (
        ("a header line of 1 MB", [b"X-Kit: " + b"x" * 2**20]),
        ("10,000 header lines", [b"X-Kit-%d: x" % number for number in range(10_000)]),
    ):
        got = statuses(await poured(talk, point.bytes_of(payload, *extra, CLOSE), point=point))
        if got == [OK]:
            talk.note(f"the server reads {what}")
            continue
        check(len(got) == 1 and got[0] in CLIENT_ERRORS, f"{what} got the statuses {got}")


@section_15_5_14.should("413, or another 4xx, before the body is there.")
async def announced_too_large(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A body of a terabyte is refused when it is announced."""
    payload = point.plain_payload()
    lines = [*point.head_lines(payload), b"Content-Length: %d" % TERABYTE]
    data = point.bytes_of(payload, lines=lines, length=False)
    got = statuses(await poured(talk, data, point=point, within=talk.timing.answer))
    check(got, "the server waits for a body of a terabyte")
    check(len(got) == 1 and got[0] in CLIENT_ERRORS, f"a body of a terabyte got the statuses {got}")


@section_15_5_14.may("413, another 4xx, or the end of the connection, long before memory is full.")
async def chunks_without_end(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A body in chunks that does not end is refused at some size."""
    payload = point.plain_payload()
    head = point.bytes_of(payload, CHUNKED, length=False, body=b"")
    size = 2**20
    chunk = b"%x\r\n" % size + b" " * size + b"\r\n"
    found = await poured(talk, head, *[chunk] * 24, point=point)
    got = statuses(found)
    check(got or found.closed, "24 MiB in chunks were read, and more is waited for")
    check(all(each in CLIENT_ERRORS for each in got), f"24 MiB in chunks got the statuses {got}")


@case.should(
    "section-8.6", "Served; 413 of a server with a lower limit, 411 of one that wants a length."
)
async def large_message(talk: ServerTalk, point: OpenEndpoint) -> None:
    """A request of half a megabyte, whole or in chunks, is served."""
    message = point.message()
    message.setdefault("params", {}).setdefault("_meta", {})["kit/filler"] = "x" * 2**19
    answer = await point.post(message)
    need(answer.status != TOO_LARGE, "the server takes no such message")
    check_served(answer, "a request of 512 KiB")
    payload = point.plain_payload()
    data = point.bytes_of(payload, CHUNKED, CLOSE, length=False, body=chunks(payload))
    found = await poured(talk, data, point=point)
    if statuses(found) == [LENGTH_REQUIRED]:
        talk.note("the server takes no body without Content-Length")
    else:
        check_served_once(found, "a request in chunks")


@case.should("section-15.5.9/half-open-others-served", "Other clients are answered meanwhile.")
async def others_served(talk: ServerTalk, point: OpenEndpoint) -> None:
    """Clients that say half a request hold up nobody else."""
    data = point.bytes_of(point.plain_payload())
    opened = [await point.wire.raw(data[: len(data) // 2]) for _ in range(HALF_OPEN)]
    check_served(await point.post(point.message()), f"a request beside {HALF_OPEN} half ones")
    other = await endpoint(talk)
    check_served(await other.post(other.message()), f"a client beside {HALF_OPEN} half requests")
    for exchange in opened:
        await point.wire.cut(exchange)


@case.may("section-15.5.9", "408, or the end of the connection, after ten seconds or so.", MODERN)
async def half_a_head(point: OpenEndpoint) -> None:
    """A head and a body that do not come to an end are not waited for without end."""
    payload = point.plain_payload()
    data = point.bytes_of(payload)
    head = await point.wire.raw(data[:40])
    body = await point.wire.raw(data[: -len(payload) // 2])
    for what, exchange in (("body", body), ("head", head)):
        answer = await point.answer(exchange, PATIENT)
        gone = answer.done is not None or answer.status in CLIENT_ERRORS
        check(gone, f"half a {what} is waited for, longer than {PATIENT:g} s")
