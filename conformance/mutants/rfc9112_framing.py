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


table.add(
    "length-before-coding",
    "section-6.1/length-and-coding",
    "Believes Content-Length where there is Transfer-Encoding.",
    pours_otherwise(lambda data: re.sub(rb"(?i)transfer-encoding ?: ?[^\r]*\r\n", b"", data)),
)
table.add(
    "coding-and-stays",
    "section-6.1/length-and-coding",
    "Goes on with a connection on which two lengths were given.",
    pours_statuses(200, closed=False),
)
table.add(
    "first-length",
    "section-6.3/lengths-differ",
    "Believes the first of two lengths.",
    pours_otherwise(_last_length_overlooked),
)
table.add(
    "length-with-sign",
    "section-6.3/length-invalid",
    "Reads lengths as a programming language reads integers.",
    pours_otherwise(lambda data: data.replace(b"Content-Length: +", b"Content-Length: ")),
)
table.add(
    "chunked-somewhere",
    "section-6.3/coding-not-chunked",
    "Looks for chunked anywhere in Transfer-Encoding.",
    pours_otherwise(
        lambda data: re.sub(
            rb"Transfer-Encoding: [^\r]*chunked[^\r]*", rb"Transfer-Encoding: chunked", data
        )
    ),
)
table.add("no-chunks", "section-7.1/chunked-served", "Knows no chunks.", pours_statuses(501))
table.add(
    "no-extensions",
    "section-7.1.1/extensions-ignored",
    "Refuses chunks with extensions.",
    pours_statuses(400),
)
table.add(
    "size-in-any-notation",
    "section-7.1/size-invalid",
    "Keeps the connection behind a chunk whose size it cannot read.",
    pours_statuses(400, closed=False),
)
table.add(
    "size-of-64-bits",
    "section-7.1/size-overflows",
    "Keeps the last 16 digits of a chunk's size.",
    pours_otherwise(lambda data: re.sub(rb"(\r\n\r\n)10{14}", rb"\1", data)),
)
table.add(
    "end-not-checked",
    "section-7.1/longer-than-its-size",
    "Does not look at what comes behind a chunk.",
    pours_statuses(200),
)
table.add(
    "lf-in-chunks",
    "section-7.1/bare-lf-in-chunks",
    "Takes LF for the end of a chunk's size.",
    pours_otherwise(lambda data: re.sub(rb"(\r\n\r\n[0-9a-f]+)\n", rb"\1\r\n", data)),
)
