"""Cases of RFC 9449 (DPoP): tokens that are bound to a key of the client.

They apply to a server that says it takes such tokens, by a challenge of the scheme DPoP or in its
metadata.  A nonce that it asks for goes with every proof.
"""

import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from msgspec import Struct

from mcpcore_conformance.cases.basic_authorization import BAD_REQUEST, UNAUTHORIZED, stranger
from mcpcore_conformance.kit.challenges import Challenge, find_challenge
from mcpcore_conformance.kit.endpoint import SINCE_STREAMABLE
from mcpcore_conformance.kit.exchanges import Response, first_message, post
from mcpcore_conformance.kit.model import PROTECTED, STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tokens import Signer, encoded, mac, proof, public_part
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, check

page = Page("rfc9449")

OK = 200
NEEDS = (PROTECTED,)
case = page.server(SINCE_STREAMABLE, bindings=STREAMABLE, needs=NEEDS)
section_4_3 = case.at("section-4.3")
WINDOW = 600
"""Seconds by which times are wrong: twice the five minutes that SEP-1932 allows."""
ACCEPTED = "rfc9449/section-7.1/accepted"
"""The case about a proof in order."""


async def supported(talk: ServerTalk) -> tuple[Response, Challenge]:
    """The response to a request without a token, and its challenge of DPoP."""
    _, found = await stranger(talk)
    challenge = find_challenge(found.header("www-authenticate"), "dpop")
    return found, challenge or talk.skip("no challenge is of the scheme DPoP")


class Holder(Struct):
    """A client with the key that its token is bound to."""

    talk: ServerTalk
    token: str
    nonce: str | None = None

    def proof(
        self,
        *,
        signer: Signer | None = None,
        header: Mapping[str, Any] | None = None,
        claims: Mapping[str, Any] | None = None,
        **rest: Any,
    ) -> str:
        """A proof for the request that is made, in order but for these changes."""
        given = {"token": self.token, "nonce": self.nonce, "wall": time.time(), **rest}
        return proof(
            signer or self.talk.tokens.holder,
            method="POST",
            url=self.talk.tokens.resource,
            id=secrets.token_urlsafe(),  # as other runs of the case may have the same seed
            header=header,
            claims=claims,
            **given,
        )

    async def sends(self, *proofs: str, token: str = "", scheme: str = "DPoP") -> Response:
        """The response to the first message of a client with these proofs."""
        link = await self.talk.anonymous()
        headers = [("authorization", f"{scheme} {token or self.token}")]
        headers += [("dpop", each) for each in proofs]
        return await post(link, first_message(link), headers)

    async def check_refused(self, proofs: Iterable[tuple[str, str]]) -> None:
        """Check that requests with proofs that are wrong get 401."""
        for what, each in proofs:
            found = await self.sends(each)
            check(found.status == UNAUTHORIZED, f"a proof {what} got {found.status}, not 401")


async def holder(talk: ServerTalk) -> Holder:
    """A client whose proofs are taken, with the nonce that the server wants of it."""
    await supported(talk)
    made = Holder(talk, talk.tokens.bound)
    found = await made.sends(made.proof())
    if found.status == UNAUTHORIZED and (nonce := found.header("dpop-nonce")) is not None:
        made.nonce = nonce
        found = await made.sends(made.proof())
    if found.status != OK:
        raise Inconclusive(f"a proof in order got {found.status}: see {ACCEPTED}")
    return made


@case.must("section-7.1", "A good answer, once the nonce that the server wants is in the proof.")
async def accepted(talk: ServerTalk) -> None:
    """A bound token with its proof lets in."""
    try:
        await holder(talk)
    except Inconclusive as error:
        raise Broken(error.detail.partition(":")[0]) from None


@case.should("section-7.1", "algs in the challenge of DPoP.", needs=())
async def algs(talk: ServerTalk) -> None:
    """The challenge says by which algorithms proofs may be signed."""
    _, challenge = await supported(talk)
    check((challenge.get("algs") or "").split(), "the challenge of DPoP has no algs")


@case.must("section-11.6", "401 for the algorithms none and HS256, which are not among algs.")
async def asymmetric(talk: ServerTalk) -> None:
    """Proofs are signed by asymmetric algorithms alone."""
    _, challenge = await supported(talk)
    named = (challenge.get("algs") or "").split()
    wrong = [each for each in named if each.lower() == "none" or each.startswith("HS")]
    check(not wrong, f"algs has {', '.join(wrong)}")
    client, secret = await holder(talk), b"k" * 32
    symmetric = {"kty": "oct", "k": encoded(secret)}
    await client.check_refused(
        [
            ("without a signature", client.proof(header={"alg": "none"}, sign=lambda _: b"")),
            (
                "of a shared secret",
                client.proof(header={"alg": "HS256", "jwk": symmetric}, sign=mac(secret)),
            ),
        ]
    )


@case.must("section-7.2", "401, with a proof beside it or without.")
async def bound_as_bearer(client: Annotated[Holder, holder]) -> None:
    """A bound token is not taken as a bearer token."""
    for proofs in ((), (client.proof(),)):
        found = await client.sends(*proofs, scheme="Bearer")
        check(found.status == UNAUTHORIZED, f"a bound token as Bearer got {found.status}, not 401")


@case.must("section-7.1", "401: such a token has nothing that the proof could be held to.")
async def not_bound(talk: ServerTalk, client: Annotated[Holder, holder]) -> None:
    """A token that is bound to no key is not taken by the scheme DPoP."""
    token = talk.tokens.good
    found = await client.sends(client.proof(token=token), token=token)
    check(found.status == UNAUTHORIZED, f"a token that is not bound got {found.status}, not 401")


@section_4_3.must("401 without a proof, 400 or 401 with two.")
async def one_proof(client: Annotated[Holder, holder]) -> None:
    """A request has exactly one proof."""
    found = await client.sends()
    check(found.status == UNAUTHORIZED, f"a request without a proof got {found.status}, not 401")
    found = await client.sends(client.proof(), client.proof())
    refused = found.status in (BAD_REQUEST, UNAUTHORIZED)
    check(refused, f"a request with two proofs got {found.status}")


@section_4_3.must("401 for what is no JWT, of another type, without a claim, with a private key.")
async def well_formed(talk: ServerTalk, client: Annotated[Holder, holder]) -> None:
    """A proof is a JWT of its type, with all that it needs and no private key."""
    private = {**public_part(talk.tokens.holder), "d": encoded(b"d" * 32)}
    made = [
        ("that is no JWT", "kit"),
        ("of the type JWT", client.proof(header={"typ": "JWT"})),
        ("without a key", client.proof(header={"jwk": None})),
        ("with a private key", client.proof(header={"jwk": private})),
        *((f"without {name}", client.proof(claims={name: None})) for name in _CLAIMS),
    ]
    await client.check_refused(made)


_CLAIMS = ("jti", "htm", "htu", "iat")


@case.must("section-4.3/signature", "401: the key in the proof has not signed it.")
async def proof_signature(talk: ServerTalk, client: Annotated[Holder, holder]) -> None:
    """The signature of a proof is that of the key in it."""
    forged = client.proof(sign=talk.tokens.stranger.sign)
    await client.check_refused([("that another key has signed", forged)])


@section_4_3.must("401 for another method, another path and another host.")
async def method_and_url(talk: ServerTalk, client: Annotated[Holder, holder]) -> None:
    """A proof is for one method and one URL."""
    url = talk.tokens.resource
    made = [
        ("for GET", client.proof(claims={"htm": "GET"})),
        ("for another path", client.proof(claims={"htu": f"{url}/other"})),
        ("for another host", client.proof(claims={"htu": "https://mcp.example.com/mcp"})),
    ]
    await client.check_refused(made)


@section_4_3.must(
    "401 for the hash of another token, for none, and for a key that it is not bound to."
)
async def access_token(talk: ServerTalk, client: Annotated[Holder, holder]) -> None:
    """A proof is for one token, which is bound to the key that has signed it."""
    made = [
        ("without ath", client.proof(token=None)),
        ("with the ath of another token", client.proof(token=talk.tokens.good)),
        ("of a key that the token is not bound to", client.proof(signer=talk.tokens.stranger)),
    ]
    await client.check_refused(made)


@section_4_3.must(
    "401 for a proof of ten minutes ago, or in ten minutes: five are what SEP-1932 allows."
)
async def age(client: Annotated[Holder, holder]) -> None:
    """A proof is good for a short time."""
    now = time.time()
    made = [
        ("of ten minutes ago", client.proof(wall=now - WINDOW)),
        ("of a time to come", client.proof(wall=now + WINDOW)),
    ]
    await client.check_refused(made)


@case.must("section-7.1", "A challenge of DPoP with error, where a proof is refused.")
async def says_why(client: Annotated[Holder, holder]) -> None:
    """The refusal of a proof says that it is wrong."""
    found = await client.sends(client.proof(claims={"htm": "GET"}))
    if found.status != UNAUTHORIZED:
        raise Inconclusive(f"a proof for GET got {found.status}: see section-4.3/method-and-url")
    challenge = find_challenge(found.header("www-authenticate"), "dpop")
    error = None if challenge is None else challenge.get("error")
    good = error in ("invalid_dpop_proof", "invalid_token")
    check(good, f"the error of the challenge to a wrong proof is {error!r}")


@case.must(
    "section-9/nonce",
    'error="use_dpop_nonce" with a DPoP-Nonce, which is taken; one made up is not.',
)
async def nonces(talk: ServerTalk, client: Annotated[Holder, holder]) -> None:
    """A server that wants nonces gives them, and takes its own alone."""
    if client.nonce is None:
        talk.skip("the server wants no nonces")
    for what, nonce in (("without a nonce", None), ("with a nonce made up", "kit-nonce")):
        found = await client.sends(client.proof(nonce=nonce))
        check(found.status == UNAUTHORIZED, f"a proof {what} got {found.status}, not 401")
        challenge = find_challenge(found.header("www-authenticate"), "dpop")
        error = None if challenge is None else challenge.get("error")
        check(error == "use_dpop_nonce", f"to a proof {what} the challenge says {error!r}")
        check(found.header("dpop-nonce"), f"the refusal of a proof {what} has no DPoP-Nonce")


@case.may("section-11.1", "401 for the second use of a proof, where the server remembers them.")
async def replay(client: Annotated[Holder, holder]) -> None:
    """A proof is good once."""
    same = client.proof()
    first = await client.sends(same)
    if first.status != OK:
        raise Inconclusive(f"a proof in order got {first.status}: see {ACCEPTED}")
    again = await client.sends(same)
    check(again.status == UNAUTHORIZED, f"a proof that was used before got {again.status}")


@case.must("section-7", "401: that the token is bound does not make it one for this server.")
async def audience(talk: ServerTalk) -> None:
    """A bound token for another resource is refused."""
    client, tokens = await holder(talk), talk.tokens
    token = tokens.changed(of=tokens.bound, aud="https://mcp.example.com/mcp")
    found = await client.sends(client.proof(token=token), token=token)
    check(found.status == UNAUTHORIZED, f"a bound token for another server got {found.status}")
