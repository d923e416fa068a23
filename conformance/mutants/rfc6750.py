"""Mutants whose challenges are malformed, or that choose one of two tokens."""

from conformance.mutants.basic_authorization import CHALLENGE
from conformance.mutants.fault import Fault
from conformance.mutants.http_faults import header_of, requests
from conformance.mutants.model import Table

table = Table("rfc6750")


table.server("errors-twice", "attributes").does(
    "Names two errors in one challenge.",
    header_of(requests, CHALLENGE, 'Bearer error="invalid_token", error="invalid_request"'),
)
table.server("quotes-in-scope", "attributes").does(
    "Has a quote in a scope.", header_of(requests, CHALLENGE, r'Bearer scope="a\"b"')
)
table.server("quote-left-open", "attributes").does(
    "Writes a challenge that cannot be read.",
    header_of(requests, CHALLENGE, 'Bearer scope="mcp:use'),
)
table.server("error-without-token", "no-error-without-token").does(
    "Says that the token is invalid where there is none.",
    header_of(
        lambda asked: requests(asked) and "authorization" not in asked.headers,
        CHALLENGE,
        'Bearer error="invalid_token"',
    ),
)
# behind a fault, the last of two headers of a name is what reaches the server
table.server("last-of-two-tokens", "one-token").does("Takes the last of two tokens.", Fault)
