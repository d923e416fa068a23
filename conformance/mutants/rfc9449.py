"""Mutants that look at DPoP proofs wrongly."""

import time

from conformance.mutants.basic_authorization import CHALLENGE
from conformance.mutants.credentials import BEARER, DPOP, Test, bearing, proving, scheme_of
from conformance.mutants.fault import Breaks
from conformance.mutants.http_faults import header_of, refuses, requests, status_of
from conformance.mutants.model import Table

table = Table("rfc9449")

_AGE = 400
"""Seconds between those that a proof lasts and those by which the kit's are wrong."""


def _takes(test: Test) -> Breaks:
    return status_of(proving(test), 200)


table.server("takes-no-proof", "accepted").does(
    "Refuses proofs in order.",
    refuses(
        proving(), 401, headers=[(CHALLENGE, 'Bearer, DPoP algs="ES256", error="invalid_token"')]
    ),
)
table.server("no-algorithms", "algs").does(
    "Does not say how proofs may be signed.", header_of(requests, CHALLENGE, "Bearer, DPoP")
)
table.server("offers-none", "asymmetric").does(
    "Names the algorithm none.", header_of(requests, CHALLENGE, 'Bearer, DPoP algs="ES256 none"')
)
table.server("proof-of-none", "asymmetric").does(
    "Takes proofs of the algorithm none.", _takes(lambda header, _: header.get("alg") == "none")
)
table.server("proof-of-a-secret", "asymmetric").does(
    "Takes proofs that are signed with a shared secret.",
    _takes(lambda header, _: header.get("alg") == "HS256"),
)
table.server("bound-as-bearer", "bound-as-bearer").does(
    "Takes bound tokens without a proof.",
    status_of(bearing(lambda _, claims: "cnf" in claims, BEARER), 200),
)
table.server("bound-to-nothing", "not-bound").does(
    "Takes a proof for a token that is bound to nothing.",
    status_of(bearing(lambda _, claims: "cnf" not in claims, DPOP), 200),
)
table.server("no-proof", "one-proof").does(
    "Does without the proof.",
    status_of(lambda asked: scheme_of(asked) == DPOP and "dpop" not in asked.headers, 200),
)
table.server("any-type", "well-formed").does(
    "Takes any JWT for a proof.", _takes(lambda header, _: header.get("typ") == "JWT")
)
table.server("private-key", "well-formed").does(
    "Takes proofs with a private key in them.",
    _takes(lambda header, _: "d" in (header.get("jwk") or {})),
)
table.server("no-id", "well-formed").does(
    "Takes proofs without an id.", _takes(lambda _, claims: "jti" not in claims)
)
table.server("any-proof", "signature", "access-token", "replay").does(
    "Takes every proof.", status_of(proving(), 200)
)
table.server("any-method", "method-and-url").does(
    "Takes proofs for other methods.", _takes(lambda _, claims: claims.get("htm") == "GET")
)
table.server("any-path", "method-and-url").does(
    "Takes proofs for other paths.",
    _takes(lambda _, claims: str(claims.get("htu")).endswith("/other")),
)
table.server("no-token-hash", "access-token").does(
    "Takes proofs for no token.", _takes(lambda _, claims: "ath" not in claims)
)
table.server("old-proofs", "age").does(
    "Takes old proofs.", _takes(lambda _, claims: claims.get("iat", 0) < time.time() - _AGE)
)
table.server("early-proofs", "age").does(
    "Takes proofs of a time to come.",
    _takes(lambda _, claims: claims.get("iat", 0) > time.time() + _AGE),
)
table.server("silent-about-proof", "says-why").does(
    "Does not say that the proof is wrong.",
    header_of(proving(lambda _, claims: claims.get("htm") == "GET"), CHALLENGE, "DPoP"),
)
table.server("any-nonce", "nonce").does(
    "Takes nonces that it did not give.",
    _takes(lambda _, claims: claims.get("nonce") == "kit-nonce"),
)
table.server("silent-about-nonce", "nonce").does(
    "Does not say that it wants a nonce.",
    header_of(
        proving(lambda _, claims: "nonce" not in claims), CHALLENGE, 'DPoP error="invalid_token"'
    ),
)
table.server("bound-for-others", "audience").does(
    "Takes bound tokens for other servers.",
    status_of(
        bearing(lambda _, claims: claims.get("aud") == "https://mcp.example.com/mcp", DPOP), 200
    ),
)
