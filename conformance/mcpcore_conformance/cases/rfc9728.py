"""Cases of RFC 9728 (protected resource metadata): what the document is, and what it says."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from mcpcore_conformance.cases.basic_authorization import metadata_of
from mcpcore_conformance.kit.model import PROTECTED, SINCE_2025_06_18, STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, check

page = Page("rfc9728")

WITH_METADATA = SINCE_2025_06_18
case = page.server(WITH_METADATA, bindings=STREAMABLE)
section_2 = case.at("section-2")
FORM = "basic/authorization/protected-resource-metadata-discovery-requirements/found"
"""The case about a document that is no JSON object."""
RESOURCE = "basic/authorization/authorization-server-location/resource"
"""The case about the resource of another server."""


async def document(talk: ServerTalk) -> dict[str, Any]:
    """The metadata of the server."""
    _, there = await metadata_of(talk)
    found = there.json()
    if not isinstance(found, dict):
        raise Inconclusive(f"the metadata is no object: see {FORM}")
    return found


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _methods(value: Any) -> bool:
    return _texts(value) and {*value} <= {"header", "body", "query"}


def _url(value: Any) -> bool:
    parts = urlsplit(value if isinstance(value, str) else "")
    return parts.scheme in ("https", "http") and bool(parts.netloc)


MEMBERS: dict[str, Callable[[Any], bool]] = {
    "resource": lambda value: _url(value) and not urlsplit(value).fragment,
    "jwks_uri": _url,
    "scopes_supported": _texts,
    "bearer_methods_supported": _methods,
    "resource_signing_alg_values_supported": lambda value: _texts(value) and "none" not in value,
    "resource_name": lambda value: isinstance(value, str),
    "resource_documentation": _url,
    "resource_policy_uri": _url,
    "resource_tos_uri": _url,
    "tls_client_certificate_bound_access_tokens": lambda value: isinstance(value, bool),
    "dpop_signing_alg_values_supported": _texts,
    "dpop_bound_access_tokens_required": lambda value: isinstance(value, bool),
}


@section_2.must("resource, and members of the types that they have there.")
async def members(talk: ServerTalk) -> None:
    """The members of the metadata have their types."""
    found = await document(talk)
    check("resource" in found, "the metadata has no resource")
    for name, good in MEMBERS.items():
        if name in found:
            check(good(found[name]), f"{name} is {found[name]!r}")


@case.must("section-3.2/json", "application/json.")
async def json_document(talk: ServerTalk) -> None:
    """The metadata is served as JSON."""
    _, there = await metadata_of(talk)
    kind = (there.header("content-type") or "").partition(";")[0].strip().lower()
    check(kind == "application/json", f"the metadata is served as {kind or 'nothing'}")


@case.must("section-3.3", "The resource whose metadata was asked for, to the letter.")
async def identical(talk: ServerTalk) -> None:
    """The resource in the metadata is the URL of the server that points to it."""
    named = (await document(talk)).get("resource")
    own = talk.http(await talk.anonymous()).url
    if not isinstance(named, str) or not own.startswith(named):
        raise Inconclusive(f"the metadata is of another resource: see {RESOURCE}")
    check(named == own, f"resource is {named!r}, which {own!r} begins with and does not equal")


@section_2.must(
    "authorization_servers with the issuer that the server was told of.", needs=(PROTECTED,)
)
async def own_issuer(talk: ServerTalk) -> None:
    """The metadata names the authorization server whose tokens are taken."""
    issuer = talk.tokens.issuer
    servers = (await document(talk)).get("authorization_servers")
    if not isinstance(servers, list):
        raise Broken(f"authorization_servers is {servers!r}")
    check(issuer in servers, f"authorization_servers is {servers!r}, without {issuer!r}")
