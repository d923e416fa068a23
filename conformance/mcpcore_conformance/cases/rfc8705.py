"""Cases of RFC 8705 (mutual TLS): tokens that are bound to a certificate of the client.

They apply to a server whose metadata says that it takes such tokens.  The kit has no certificate of
its tokens, so it shows that they are refused without one, and not that they are taken with it.
"""

from mcpcore_conformance.cases.basic_authorization import UNAUTHORIZED, bearing, parameter
from mcpcore_conformance.cases.rfc9728 import WITH_METADATA, document
from mcpcore_conformance.kit.exchanges import Response
from mcpcore_conformance.kit.model import PROTECTED, STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tokens import encoded
from mcpcore_conformance.kit.verdicts import Inconclusive, check

page = Page("rfc8705")

section_3 = page.server(WITH_METADATA, bindings=STREAMABLE, needs=(PROTECTED,)).at("section-3")
MEMBER = "tls_client_certificate_bound_access_tokens"
REFUSED = "rfc8705/section-3/without-certificate"
"""The case about the status."""


async def without(talk: ServerTalk) -> Response:
    """The response to a token that is bound to a certificate, which nobody shows."""
    if (await document(talk)).get(MEMBER) is not True:
        talk.skip(f"the metadata has no {MEMBER}")
    token = talk.tokens.changed(cnf={"x5t#S256": encoded(bytes(32))})
    return await bearing(talk, token)


@section_3.must("401: the client has not proved that it holds the certificate.")
async def without_certificate(talk: ServerTalk) -> None:
    """A token that is bound to a certificate is refused without it."""
    found = await without(talk)
    check(found.status == UNAUTHORIZED, f"a token of a certificate got {found.status}, not 401")


@section_3.must('error="invalid_token" in the challenge.')
async def invalid_without(talk: ServerTalk) -> None:
    """The refusal of such a token says that it is invalid."""
    found = await without(talk)
    if found.status != UNAUTHORIZED:
        raise Inconclusive(f"a token of a certificate got {found.status}: see {REFUSED}")
    error = parameter(found, "error")
    check(error == "invalid_token", f"the error of the challenge is {error!r}")
