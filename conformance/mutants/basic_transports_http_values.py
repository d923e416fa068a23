"""Mutants of how values stand in headers."""

from collections.abc import Callable

from conformance.mutants.basic_transports_http_headers import MISMATCH, NAME, overlooked
from conformance.mutants.http_faults import pours_statuses, refuses, with_header
from conformance.mutants.model import Table

table = Table("basic/transports/streamable-http")


def _is(*found: str) -> Callable[[str | None], bool]:
    return lambda value: value is not None and any(each in value for each in found)


table.server("sentinel-not-decoded", "value-encoding/name-decoded").does(
    "Compares the sentinel form as it is.",
    refuses(with_header(NAME, _is("=?base64?")), 400, MISMATCH),
)
table.server("sentinel-in-capitals", "value-encoding/sentinel-small-letters").does(
    "Knows the sentinel in any case.",
    overlooked(NAME, lambda asked: "BASE64" in (asked.headers.get(NAME) or "")),
)
table.server("sentinel-guessed", "value-encoding/sentinel-broken").does(
    "Makes something of Base64 that is none.", overlooked(NAME, with_header(NAME, _is("!")))
)
table.server("any-characters", "server-validation/invalid-characters").does(
    "Takes bytes outside ASCII in names.", pours_statuses(200)
)
