"""Mutants of the page basic/authorization that take tokens which they should not."""

import time
from collections.abc import Callable

from conformance.mutants.credentials import Test, bearing, token_of
from conformance.mutants.fault import Asked, Fault
from conformance.mutants.http_faults import deletes, refuses, requests, status_of
from conformance.mutants.model import Table, until

table = Table("basic/authorization")

_OPENINGS = ("initialize", "server/discover")


def _takes(test: Test) -> Callable[[], Fault]:
    return status_of(bearing(test), 200)


table.server("no-end", "token-handling/expired").does(
    "Takes tokens that have expired.", _takes(lambda _, claims: claims.get("exp", 0) < time.time())
)
table.server("no-beginning", "token-handling/not-yet-valid").does(
    "Takes tokens before they are valid.",
    _takes(lambda _, claims: claims.get("nbf", 0) > time.time()),
)
table.server("any-audience", "token-handling/audience").does(
    "Takes tokens for clients.", _takes(lambda _, claims: claims.get("aud") == "conformance-kit")
)
table.server("audience-begins-alike", "token-handling/audience").does(
    "Takes tokens for what begins like its own URL.",
    _takes(lambda _, claims: str(claims.get("aud")).endswith("-of-others")),
)
table.server("no-audience", "token-handling/audience").does(
    "Takes tokens for nobody.", _takes(lambda _, claims: "aud" not in claims)
)
table.server("any-issuer", "token-handling/issuer").does(
    "Takes tokens of another issuer, if the signature holds.",
    _takes(lambda _, claims: claims.get("iss") == "https://auth.example.com"),
)
table.server("issuer-begins-alike", "token-handling/issuer").does(
    "Takes tokens of an issuer whose name begins like the right one.",
    _takes(lambda _, claims: str(claims.get("iss")).endswith("/tenant")),
)
table.server("claims-not-signed", "token-handling/signature").does(
    "Takes claims that were changed after they were signed.",
    _takes(lambda _, claims: claims.get("sub") == "somebody-else"),
)
table.server("no-signature", "token-handling/signature").does(
    "Takes tokens whose signature is missing.",
    status_of(lambda asked: token_of(asked).endswith("."), 200),
)
table.server("algorithm-none", "token-handling/algorithm").does(
    "Takes tokens of the algorithm none.", _takes(lambda header, _: header.get("alg") == "none")
)
table.server("public-key-as-secret", "token-handling/algorithm").does(
    "Takes the public key for the secret of HS256.",
    _takes(lambda header, _: header.get("alg") == "HS256"),
)
table.server("key-of-the-token", "token-handling/algorithm").does(
    "Verifies tokens by the key that they bring.", _takes(lambda header, _: "jwk" in header)
)
table.server("fails-at-odd-tokens", "token-handling/malformed").does(
    "Has an error of its own at a token of five parts.",
    status_of(lambda asked: token_of(asked).count(".") == 4, 500),
)
table.server("token-without-algorithm", "token-handling/malformed").does(
    "Takes tokens that do not say how they are signed.",
    _takes(lambda header, _: "alg" not in header),
)


def _later(asked: Asked) -> bool:
    """Whether a request without a token comes after the first."""
    later = requests(asked) and asked.value["method"] not in _OPENINGS
    return later and "authorization" not in asked.headers


table.server("asks-once", "token-requirements/each-by-itself").does(
    "Wants a token of the first request alone.", status_of(_later, 200)
)
table.server(
    "session-is-a-token", "token-requirements/each-by-itself", revisions=until("2025-11-25")
).does(
    "Lets whoever knows a session end it.",
    refuses(lambda asked: deletes(asked) and "accept" in asked.headers, 200),
)
