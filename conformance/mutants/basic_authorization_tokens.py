"""Mutants of the page basic/authorization that take tokens which they should not."""

import time

from conformance.mutants.credentials import Test, bearing, token_of
from conformance.mutants.fault import Asked
from conformance.mutants.http_faults import deletes, refuses, requests, status_of
from conformance.mutants.model import Table, until

table = Table("basic/authorization")

_OPENINGS = ("initialize", "server/discover")


def _takes(slug: str, section: str, summary: str, test: Test) -> None:
    table.server(slug, f"token-handling/{section}").does(summary, status_of(bearing(test), 200))


_takes(
    "no-end",
    "expired",
    "Takes tokens that have expired.",
    lambda _, claims: claims.get("exp", 0) < time.time(),
)
_takes(
    "no-beginning",
    "not-yet-valid",
    "Takes tokens before they are valid.",
    lambda _, claims: claims.get("nbf", 0) > time.time(),
)
_takes(
    "any-audience",
    "audience",
    "Takes tokens for clients.",
    lambda _, claims: claims.get("aud") == "conformance-kit",
)
_takes(
    "audience-begins-alike",
    "audience",
    "Takes tokens for what begins like its own URL.",
    lambda _, claims: str(claims.get("aud")).endswith("-of-others"),
)
_takes("no-audience", "audience", "Takes tokens for nobody.", lambda _, claims: "aud" not in claims)
_takes(
    "any-issuer",
    "issuer",
    "Takes tokens of another issuer, if the signature holds.",
    lambda _, claims: claims.get("iss") == "https://auth.example.com",
)
_takes(
    "issuer-begins-alike",
    "issuer",
    "Takes tokens of an issuer whose name begins like the right one.",
    lambda _, claims: str(claims.get("iss")).endswith("/tenant"),
)
_takes(
    "claims-not-signed",
    "signature",
    "Takes claims that were changed after they were signed.",
    lambda _, claims: claims.get("sub") == "somebody-else",
)
table.server("no-signature", "token-handling/signature").does(
    "Takes tokens whose signature is missing.",
    status_of(lambda asked: token_of(asked).endswith("."), 200),
)
_takes(
    "algorithm-none",
    "algorithm",
    "Takes tokens of the algorithm none.",
    lambda header, _: header.get("alg") == "none",
)
_takes(
    "public-key-as-secret",
    "algorithm",
    "Takes the public key for the secret of HS256.",
    lambda header, _: header.get("alg") == "HS256",
)
_takes(
    "key-of-the-token",
    "algorithm",
    "Verifies tokens by the key that they bring.",
    lambda header, _: "jwk" in header,
)
table.server("fails-at-odd-tokens", "token-handling/malformed").does(
    "Has an error of its own at a token of five parts.",
    status_of(lambda asked: token_of(asked).count(".") == 4, 500),
)
table.server("token-without-algorithm", "token-handling/malformed").does(
    "Takes tokens that do not say how they are signed.",
    status_of(bearing(lambda header, _: "alg" not in header), 200),
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
