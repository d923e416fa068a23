"""Mutants that read HTTP/1.1 in their own way."""

import re

from conformance.mutants.http_faults import pours, pours_otherwise, pours_statuses
from conformance.mutants.model import Table
from mcpcore_conformance.kit.wire import Plain, Poured

table = Table("rfc9112")


def _second_host_overlooked(data: bytes) -> bytes:
    first, separator, rest = data.partition(b"\r\n\r\n")
    head, _, lines = first.partition(b"\r\nHost: ")
    own, end, others = lines.partition(b"\r\n")
    others = re.sub(rb"Host: [^\r]*\r\n", b"", others)
    return head + b"\r\nHost: " + own + end + others + separator + rest


table.server("lf-makes-two", "bare-lf").does(
    "Makes two requests of one whose lines end in LF.", pours_statuses(200, 400)
)
table.server("no-empty-line", "empty-line-first").does(
    "Takes an empty line for a request.", pours_statuses(400)
)
table.server("any-version", "unknown-version").does(
    "Takes every version of HTTP for 1.1.",
    pours_otherwise(lambda data: data.replace(b"HTTP/9.9", b"HTTP/1.1")),
)
table.server("waits-for-http", "no-http").does(
    "Waits for what is no HTTP to end.", pours(lambda _data, _found: Poured([], closed=False))
)
table.server("any-method", "unknown-method").does(
    "Takes every method for POST.", pours_otherwise(lambda data: data.replace(b"KIT ", b"POST ", 1))
)
table.server("long-target-500", "target-too-long").does(
    "Fails on a long target.", pours_statuses(500)
)
table.server("long-target-400", "target-too-long").does(
    "Says of a long target that it is a bad request.", pours_statuses(400)
)
table.server("no-host", "host-missing").does("Does without Host.", pours_statuses(200))
table.server("first-host", "host-twice").does(
    "Takes the first of two Hosts.", pours_otherwise(_second_host_overlooked)
)
table.server("any-host", "host-invalid").does("Does not read Host.", pours_statuses(200))
table.server("path-alone", "absolute-form").does(
    "Takes an absolute target for a path.", pours_statuses(404)
)
table.server("space-forgiven", "space-before-colon").does(
    "Passes over white space before a colon.",
    pours_otherwise(lambda data: data.replace(b" :", b":").replace(b"\t:", b":")),
)
table.server("fold-is-a-line", "folded-line").does(
    "Fails on a line that goes on in the next.", pours_statuses(500)
)
table.server("backwards", "pipelined-in-order").does(
    "Answers the last request first.",
    pours(lambda _data, found: Poured(found.responses[::-1], found.closed)),
)
table.server("first-of-many", "pipelined-in-order").does(
    "Answers the first of several requests only.",
    pours(lambda _data, found: Poured(found.responses[:1], found.closed)),
)
table.server("serves-on", "close-is-the-last").does(
    "Serves what comes behind Connection: close.",
    pours_otherwise(lambda data: data.replace(b"Connection: close\r\n", b"", 1)),
)
table.server("stays-open", "close-is-the-last").does(
    "Keeps the connection in spite of Connection: close.",
    pours(lambda _data, found: Poured([Plain(200, [], whole=True)], closed=False)),
)


def _last_length_overlooked(data: bytes) -> bytes:
    """One of two lines is believed, or the first number of a list."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    lengths = [line for line in lines if line.startswith(b"Content-Length: ")]
    kept = [line for line in lines if line not in lengths[1:]]
    return (
        b"\r\n".join(line.split(b",")[0] if line in lengths else line for line in kept)
        + separator
        + rest
    )


table.server("length-before-coding", "length-and-coding").does(
    "Believes Content-Length where there is Transfer-Encoding.",
    pours_otherwise(lambda data: re.sub(rb"(?i)transfer-encoding ?: ?[^\r]*\r\n", b"", data)),
)
table.server("coding-and-stays", "length-and-coding").does(
    "Goes on with a connection on which two lengths were given.", pours_statuses(200, closed=False)
)
table.server("first-length", "lengths-differ").does(
    "Believes the first of two lengths.", pours_otherwise(_last_length_overlooked)
)
table.server("length-with-sign", "length-invalid").does(
    "Reads lengths as a programming language reads integers.",
    pours_otherwise(lambda data: data.replace(b"Content-Length: +", b"Content-Length: ")),
)
table.server("chunked-somewhere", "coding-not-chunked").does(
    "Looks for chunked anywhere in Transfer-Encoding.",
    pours_otherwise(
        lambda data: re.sub(
            rb"Transfer-Encoding: [^\r]*chunked[^\r]*", rb"Transfer-Encoding: chunked", data
        )
    ),
)
table.server("no-chunks", "chunked-served").does("Knows no chunks.", pours_statuses(501))
table.server("no-extensions", "extensions-ignored").does(
    "Refuses chunks with extensions.", pours_statuses(400)
)
table.server("size-in-any-notation", "size-invalid").does(
    "Keeps the connection behind a chunk whose size it cannot read.",
    pours_statuses(400, closed=False),
)
table.server("size-of-64-bits", "size-overflows").does(
    "Keeps the last 16 digits of a chunk's size.",
    pours_otherwise(lambda data: re.sub(rb"(\r\n\r\n)10{14}", rb"\1", data)),
)
table.server("end-not-checked", "longer-than-its-size").does(
    "Does not look at what comes behind a chunk.", pours_statuses(200)
)
table.server("lf-in-chunks", "bare-lf-in-chunks").does(
    "Takes LF for the end of a chunk's size.",
    pours_otherwise(lambda data: re.sub(rb"(\r\n\r\n[0-9a-f]+)\n", rb"\1\r\n", data)),
)
