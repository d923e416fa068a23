"""Mutants that find another end of a body."""

import re

from conformance.mutants.http_faults import pours_otherwise, pours_statuses
from conformance.mutants.model import Table

table = Table("rfc9112")


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


table.server("length-before-coding", "section-6.1/length-and-coding").does(
    "Believes Content-Length where there is Transfer-Encoding.",
    pours_otherwise(lambda data: re.sub(rb"(?i)transfer-encoding ?: ?[^\r]*\r\n", b"", data)),
)
table.server("coding-and-stays", "section-6.1/length-and-coding").does(
    "Goes on with a connection on which two lengths were given.", pours_statuses(200, closed=False)
)
table.server("first-length", "section-6.3/lengths-differ").does(
    "Believes the first of two lengths.", pours_otherwise(_last_length_overlooked)
)
table.server("length-with-sign", "section-6.3/length-invalid").does(
    "Reads lengths as a programming language reads integers.",
    pours_otherwise(lambda data: data.replace(b"Content-Length: +", b"Content-Length: ")),
)
table.server("chunked-somewhere", "section-6.3/coding-not-chunked").does(
    "Looks for chunked anywhere in Transfer-Encoding.",
    pours_otherwise(
        lambda data: re.sub(
            rb"Transfer-Encoding: [^\r]*chunked[^\r]*", rb"Transfer-Encoding: chunked", data
        )
    ),
)
table.server("no-chunks", "section-7.1/chunked-served").does(
    "Knows no chunks.", pours_statuses(501)
)
table.server("no-extensions", "section-7.1.1/extensions-ignored").does(
    "Refuses chunks with extensions.", pours_statuses(400)
)
table.server("size-in-any-notation", "section-7.1/size-invalid").does(
    "Keeps the connection behind a chunk whose size it cannot read.",
    pours_statuses(400, closed=False),
)
table.server("size-of-64-bits", "section-7.1/size-overflows").does(
    "Keeps the last 16 digits of a chunk's size.",
    pours_otherwise(lambda data: re.sub(rb"(\r\n\r\n)10{14}", rb"\1", data)),
)
table.server("end-not-checked", "section-7.1/longer-than-its-size").does(
    "Does not look at what comes behind a chunk.", pours_statuses(200)
)
table.server("lf-in-chunks", "section-7.1/bare-lf-in-chunks").does(
    "Takes LF for the end of a chunk's size.",
    pours_otherwise(lambda data: re.sub(rb"(\r\n\r\n[0-9a-f]+)\n", rb"\1\r\n", data)),
)
