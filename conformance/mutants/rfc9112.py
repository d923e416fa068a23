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


def _says(status: int) -> Plain:
    return Plain(status, [], whole=True)


table.server("lf-makes-two", "section-2.2/bare-lf").does(
    "Makes two requests of one whose lines end in LF.", pours_statuses(200, 400)
)
table.server("no-empty-line", "section-2.2/empty-line-first").does(
    "Takes an empty line for a request.", pours_statuses(400)
)
table.server("any-version", "section-2.3/unknown-version").does(
    "Takes every version of HTTP for 1.1.",
    pours_otherwise(lambda data: data.replace(b"HTTP/9.9", b"HTTP/1.1")),
)
table.server("waits-for-http", "section-3/no-http").does(
    "Waits for what is no HTTP to end.", pours(lambda _data, _found: Poured([], closed=False))
)
table.server("any-method", "section-3/unknown-method").does(
    "Takes every method for POST.", pours_otherwise(lambda data: data.replace(b"KIT ", b"POST ", 1))
)
table.server("long-target-500", "section-3/target-too-long").does(
    "Fails on a long target.", pours_statuses(500)
)
table.server("long-target-400", "section-3/target-too-long").does(
    "Says of a long target that it is a bad request.", pours_statuses(400)
)
table.server("no-host", "section-3.2/host-missing").does("Does without Host.", pours_statuses(200))
table.server("first-host", "section-3.2/host-twice").does(
    "Takes the first of two Hosts.", pours_otherwise(_second_host_overlooked)
)
table.server("any-host", "section-3.2/host-invalid").does(
    "Does not read Host.", pours_statuses(200)
)
table.server("path-alone", "section-3.2.2/absolute-form").does(
    "Takes an absolute target for a path.", pours_statuses(404)
)
table.server("space-forgiven", "section-5.1/space-before-colon").does(
    "Passes over white space before a colon.",
    pours_otherwise(lambda data: data.replace(b" :", b":").replace(b"\t:", b":")),
)
table.server("fold-is-a-line", "section-5.2/folded-line").does(
    "Fails on a line that goes on in the next.", pours_statuses(500)
)
table.server("backwards", "section-9.3.2/pipelined-in-order").does(
    "Answers the last request first.",
    pours(lambda _data, found: Poured(found.responses[::-1], found.closed)),
)
table.server("first-of-many", "section-9.3.2/pipelined-in-order").does(
    "Answers the first of several requests only.",
    pours(lambda _data, found: Poured(found.responses[:1], found.closed)),
)
table.server("serves-on", "section-9.6/close-is-the-last").does(
    "Serves what comes behind Connection: close.",
    pours_otherwise(lambda data: data.replace(b"Connection: close\r\n", b"", 1)),
)
table.server("stays-open", "section-9.6/close-is-the-last").does(
    "Keeps the connection in spite of Connection: close.",
    pours(lambda _data, found: Poured([_says(200)], closed=False)),
)
