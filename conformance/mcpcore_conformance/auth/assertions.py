"""Signed texts that clients present: assertions, ID-JAGs, DPoP proofs, and tokens of the server.

Sources: RFC 7523 section 3 (assertions), RFC 9449 sections 5 and 8 (proofs at a token endpoint).
"""

from collections.abc import Sequence

from mcpcore.auth.keysets import Key
from mcpcore.auth.proofs import (
    NonceMissing,
    Nonces,
    ReplayWindow,
    Seen,
    judge_proof,
    read_proof,
    thumbprint,
)
from mcpcore.auth.resource_server import Verify
from mcpcore.auth.tokens import (
    ClaimRules,
    Grant,
    TokenFault,
    TokenRefused,
    judge_claims,
    judge_type,
    read_jws,
)
from mcpcore_conformance.auth.model import Refused, Request, ServerSettings


def verified(
    text: str, keys: Sequence[Key], rules: ClaimRules, verify: Verify, wall: float
) -> Grant:
    """Return what a signed JWT says.  Raises TokenRefused if it does not hold."""
    jws = read_jws(text)
    judge_type(jws, rules)
    found = [key for key in keys if jws.kid in (None, key.kid) and key.fits(jws.algorithm)]
    if not found:
        raise TokenRefused(TokenFault.KEY)
    signed, signature = jws.signing_input, jws.signature
    if not any(verify(key.jwk, jws.algorithm, signed, signature) for key in found[:4]):
        raise TokenRefused(TokenFault.SIGNATURE)
    return judge_claims(jws.claims, rules, wall=wall, explicit=True)


def once(grant: Grant, window: ReplayWindow, settings: ServerSettings, wall: float) -> None:
    """Note the use of an assertion.  Raises TokenRefused for a second, or if it lives too long."""
    jti = grant.claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= 256:
        raise TokenRefused(TokenFault.MALFORMED)
    if grant.expires_at > wall + settings.assertion_time + 60:
        raise TokenRefused(TokenFault.EXPIRED)
    issuer, until = grant.issuer, grant.expires_at + 60
    seen = window.look(jti, issuer, party=issuer, until=until, wall=wall, now=wall)
    if seen is Seen.FULL:
        raise Refused("temporarily_unavailable", "there are too many assertions", 503)
    if seen is Seen.REPLAYED:
        raise TokenRefused(TokenFault.REVOKED)


class Proofs:
    """DPoP proofs at the token endpoint."""

    def __init__(self, settings: ServerSettings, verify: Verify, nonces: Nonces | None) -> None:
        self._settings = settings
        self._verify = verify
        self._nonces = nonces
        self._seen = ReplayWindow(limit=settings.limits.replays)

    def key_of(self, request: Request) -> str | None:
        """Return the thumbprint of the key that a request proves, None without a proof.

        Raises Refused for a proof that does not hold, and for one that lacks the nonce.
        """
        text, rules, wall = request.header("dpop"), self._settings.proofs, request.wall
        if text is None:
            return None
        try:
            proof, key = read_proof(text, rules)
            if not self._verify(key, proof.algorithm, proof.signing_input, proof.signature):
                raise TokenRefused(TokenFault.PROOF)
            jti = judge_proof(
                proof,
                rules,
                method=request.method,
                urls=(f"{self._settings.base}/token",),
                token=None,
                nonces=self._nonces,
                wall=wall,
            )
        except NonceMissing as missing:
            line = ("dpop-nonce", missing.nonce)
            raise Refused("use_dpop_nonce", str(missing), headers=(line,)) from None
        except TokenRefused as refused:
            raise Refused("invalid_dpop_proof", refused.fault.value) from None
        jkt = thumbprint(key)
        until = wall + 2 * rules.age
        seen = self._seen.look(jti, jkt, party=jkt, until=until, wall=wall, now=wall)
        if seen is Seen.FULL:
            raise Refused("temporarily_unavailable", "there are too many proofs", 503)
        if seen is Seen.REPLAYED:
            raise Refused("invalid_dpop_proof", "the proof was used before")
        return jkt

    def nonce_line(self, wall: float) -> tuple[tuple[str, str], ...]:
        """Return the header that offers the next nonce, if nonces are demanded."""
        return () if self._nonces is None else (("dpop-nonce", self._nonces.current(wall)),)
