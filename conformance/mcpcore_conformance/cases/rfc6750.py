"""Cases of RFC 6750 (bearer tokens): what a challenge says, and how many tokens a request has."""

import re

from mcpcore_conformance.cases.basic_authorization import (
    BAD_REQUEST,
    NO_TOKEN,
    UNAUTHORIZED,
    parameter,
    stranger,
    token_of,
)
from mcpcore_conformance.kit.challenges import Challenge, challenges
from mcpcore_conformance.kit.endpoint import SINCE_STREAMABLE
from mcpcore_conformance.kit.exchanges import Response, first_message, post
from mcpcore_conformance.kit.model import STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, check

page = Page("rfc6750")
case = page.server(SINCE_STREAMABLE, bindings=STREAMABLE)

ONCE = ("realm", "scope", "error", "error_description", "error_uri")
"""Attributes that a challenge has at most once."""
CHARACTERS = {
    "scope": re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*"),
    "error": re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]+"),
    "error_description": re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]+"),
    "error_uri": re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+"),
}


def bearers(found: Response) -> list[Challenge]:
    """The challenges of Bearer.  Raises Broken for a header that cannot be read."""
    value = found.header("www-authenticate")
    read = challenges(value)
    if read is None:
        raise Broken(f"WWW-Authenticate cannot be read: {value!r}")
    return [each for each in read if each.scheme == "bearer"]


@case.must("section-3", "Each attribute once, with the characters that it may have.")
async def attributes(talk: ServerTalk) -> None:
    """The attributes of a challenge are well formed, also where a token is quoted to it."""
    link, plain = await stranger(talk)
    odd = f'Bearer {NO_TOKEN}.", error="none'
    refused = await post(link, first_message(link), [("authorization", odd)])
    for found in (plain, refused):
        for challenge in bearers(found):
            names = [name for name, _ in challenge.parameters]
            for name in ONCE:
                check(names.count(name) <= 1, f"{name} stands more than once in a challenge")
            for name, allowed in CHARACTERS.items():
                value = challenge.get(name)
                good = value is None or allowed.fullmatch(value)
                check(good, f"{name} has characters that it may not have: {value!r}")


@case.should("section-3.1", "A challenge without error: nothing was wrong with a token.")
async def no_error_without_token(talk: ServerTalk) -> None:
    """A request without credentials is not told of an error."""
    _, found = await stranger(talk)
    error = parameter(found, "error")
    check(error is None, f"the challenge to a request without a token has the error {error!r}")


@case.should("section-3.1", "400 or 401: which of the two counts would be a guess.")
async def one_token(talk: ServerTalk) -> None:
    """A request with two tokens is refused, though one of them is good."""
    token = token_of(talk)
    link, _ = await stranger(talk)
    both = [("authorization", f"Bearer {each}") for each in (token, NO_TOKEN)]
    for pair in (both, both[::-1]):
        found = await post(link, first_message(link), pair)
        good = found.status in (BAD_REQUEST, UNAUTHORIZED)
        check(good, f"a request with two tokens got {found.status}")
