"""Cases of the page basic/authorization: which tokens a server takes.

The kit starts an authorization server, of which the server under test was told, and makes tokens
that differ from a good one in one point.
"""

import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from mcpcore_conformance.kit.challenges import find_challenge
from mcpcore_conformance.kit.exchanges import Response, first_message, post
from mcpcore_conformance.kit.model import (
    PROTECTED,
    SINCE_2025_03_26,
    SINCE_2025_06_18,
    STREAMABLE,
    Page,
)
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tokens import Tokens, encoded, jwt, mac, read
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/authorization")

UNAUTHORIZED = 401
NEEDS = (PROTECTED,)
case = page.server(SINCE_2025_03_26, bindings=STREAMABLE, needs=NEEDS)
HOUR = 3600
"""Seconds by which times are wrong: more than any leeway."""


async def bearing(talk: ServerTalk, token: str, scheme: str = "Bearer") -> Response:
    """The response to the first message of a client that has a token."""
    link = await talk.anonymous()
    return await post(link, first_message(link), [("authorization", f"{scheme} {token}")])


async def check_refused(talk: ServerTalk, tokens: Iterable[tuple[str, str]]) -> None:
    """Check that tokens get 401, and ``invalid_token`` if the challenge says why."""
    for what, token in tokens:
        found = await bearing(talk, token)
        check(found.status == UNAUTHORIZED, f"a token {what} got {found.status}, not 401")
        challenge = find_challenge(found.header("www-authenticate"), "bearer")
        error = None if challenge is None else challenge.get("error")
        talk.should(error == "invalid_token", f"of a token {what} the challenge says {error!r}")


@case.must("token-handling/expired", "401.")
async def expired(talk: ServerTalk) -> None:
    """A token that has expired is refused."""
    then = int(time.time()) - HOUR
    token = talk.tokens.changed(iat=then - HOUR, exp=then)
    await check_refused(talk, [("that has expired", token)])


@case.must("token-handling/not-yet-valid", "401.")
async def not_yet_valid(talk: ServerTalk) -> None:
    """A token whose time has not come is refused."""
    token = talk.tokens.changed(nbf=int(time.time()) + HOUR)
    await check_refused(talk, [("that is not valid yet", token)])


@case.must(
    "token-handling/audience",
    "401 for another server, another path, another port, somebody else's list, nothing.",
    SINCE_2025_06_18,
)
async def audience(talk: ServerTalk) -> None:
    """A token that was issued for another resource is refused."""
    own = talk.tokens.resource
    parts = urlsplit(own)
    others = {
        "for another server": "https://mcp.example.com/mcp",
        "for another path of the server": f"{own}-of-others",
        "for another port of the host": f"{parts.scheme}://{parts.hostname}:1{parts.path}",
        "for several others": ["https://one.example.com/mcp", "https://two.example.com/mcp"],
        "for a client": "conformance-kit",
        "for nobody": None,
    }
    made = [(what, talk.tokens.changed(aud=aud)) for what, aud in others.items()]
    await check_refused(talk, made)


@case.must("token-handling/issuer", "401, though the signature holds.")
async def issuer(talk: ServerTalk) -> None:
    """A token of another issuer is refused."""
    others = {
        "of another issuer": "https://auth.example.com",
        "of an issuer that is longer by a path": f"{talk.tokens.issuer}/tenant",
        "of no issuer": None,
    }
    await check_refused(
        talk, [(what, talk.tokens.changed(iss=iss)) for what, iss in others.items()]
    )


@case.must(
    "token-handling/signature",
    "401 for another key, for other claims than were signed, for no signature.",
)
async def signature(talk: ServerTalk) -> None:
    """A token whose signature does not hold is refused."""
    tokens = talk.tokens
    head, claims, signed = tokens.good.split(".")
    _, longer = tokens.changed(sub="somebody-else").split(".")[:2]
    made = [
        ("that another key has signed", tokens.changed(signer=tokens.stranger)),
        ("whose claims were changed", f"{head}.{longer}.{signed}"),
        ("whose signature is missing", f"{head}.{claims}."),
        ("whose signature is cut off", f"{head}.{claims}.{signed[:-8]}"),
    ]
    await check_refused(talk, made)


def _of_other_algorithms(tokens: Tokens) -> list[tuple[str, str]]:
    header, claims = read(tokens.good)
    public = repr(dict(tokens.key.public)).encode()
    return [
        *(
            (f"of the algorithm {name}", jwt({**header, "alg": name}, claims, lambda _: b""))
            for name in ("none", "None")
        ),
        (
            "that is signed with the public key as a secret",
            jwt({**header, "alg": "HS256"}, claims, mac(public)),
        ),
        (
            "that brings its own key",
            jwt(
                {**header, "kid": "kit", "jwk": dict(tokens.stranger.public)},
                claims,
                tokens.stranger.sign,
            ),
        ),
    ]


@case.must(
    "token-handling/algorithm",
    "401 for the algorithms none and HS256, and for a key in the header of the token.",
)
async def algorithm(talk: ServerTalk) -> None:
    """A token does not choose how it is verified."""
    await check_refused(talk, _of_other_algorithms(talk.tokens))


@case.must("token-handling/malformed", "401, never a status of 500 or more.")
async def malformed(talk: ServerTalk) -> None:
    """What is no JWT is refused as any invalid token is."""
    header, claims = read(talk.tokens.good)
    array = encoded(b"[]")
    made = [
        ("of one word", "kit"),
        ("of two parts", talk.tokens.good.rpartition(".")[0]),
        ("of five parts", f"{talk.tokens.good}.e30.e30"),
        ("whose header is an array", f"{array}.{array}.{array}"),
        ("whose header is no JSON", f"e3.{encoded(b'{}')}.AA"),
        ("without an algorithm", jwt({"typ": header.get("typ")}, claims, talk.tokens.key.sign)),
    ]
    await check_refused(talk, made)
