"""Settings of a client's authorization: its grant, its credentials, and its bounds.

Sources: the authorization pages, "Client Registration" and "Scope Selection Strategy"; the ext-auth
pages on client credentials and enterprise-managed authorization.
"""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from msgspec import Struct

from mcpcore.auth.challenges import format_scopes
from mcpcore.auth.grants import ID_TOKEN, ClientIdentity, SigningKey
from mcpcore.auth.proofs import thumbprint
from mcpcore.auth.urls import parse_url
from mcpcore.errors import UrlRefused
from mcpcore.spec.bounds import check_kinds, check_numbers


class CodeGrant(Struct, frozen=True, kw_only=True):
    """Sign-in of a person: authorization code with PKCE.

    Raises UrlRefused for a redirect URI that is neither on loopback nor https.
    """

    kind: ClassVar[str] = "authorization_code"
    redirect_uri: str = "http://127.0.0.1/callback"
    """URL that the browser is sent back to; the port of the callback is put in."""
    personal: bool = False
    """True for a server behind a gateway at which each client signs in for itself; the redirect URI
    is then the gateway's."""

    def __post_init__(self) -> None:
        check_kinds(self)
        url = parse_url(self.redirect_uri, "the redirect URI")
        if not url.loopback and url.scheme != "https":
            raise UrlRefused("the redirect URI", "it is neither on loopback nor https")


class ClientCredentialsGrant(Struct, frozen=True, kw_only=True):
    """Token for the client itself."""

    kind: ClassVar[str] = "client_credentials"


class AssertionGrant(Struct, frozen=True, kw_only=True):
    """Token for an assertion of a platform (RFC 7523): workload identity.

    The application is asked for the assertion each time.  It is sent once, and not again after a
    refusal.
    """

    kind: ClassVar[str] = "assertion"


class EnterpriseGrant(Struct, frozen=True, kw_only=True):
    """Token by way of an identity provider: RFC 8693, then RFC 7523 (enterprise-managed)."""

    kind: ClassVar[str] = "enterprise"
    token_endpoint: str
    """Token endpoint of the identity provider."""
    client: ClientIdentity
    """Credentials of this client at the identity provider."""
    subject_token_type: str = ID_TOKEN
    """Type of the person's token, which the application is asked for (RFC 8693 section 3)."""


AnyGrant = CodeGrant | ClientCredentialsGrant | AssertionGrant | EnterpriseGrant
"""Grants; the ``kind`` of each stands in the record of a token that was got by it."""


class DpopKey(Struct, frozen=True, kw_only=True):
    """Key that tokens are bound to: its public part, and by what name it signs.

    Raises ValueError for a key that is not a public one of a known kind: each proof would show it.
    """

    jwk: Mapping[str, Any]
    """Public part of the key."""
    signing: SigningKey
    """Name and algorithm of the signatures."""

    def __post_init__(self) -> None:
        thumbprint(self.jwk)


class AuthorizationSettings(Struct, frozen=True, kw_only=True):
    """Settings of the authorization of a client; times in seconds.

    Raises UrlRefused for a ``metadata_url`` that cannot be a client id, ValueError for scopes that
    cannot be sent, for a number out of range, for what is neither True nor False, and for
    assertions that any issuer could pass on to their audience.
    """

    grant: AnyGrant = CodeGrant()
    """Way to a token: the sign-in of a person, or a grant without one."""
    client: ClientIdentity | None = None
    """Pre-registered credentials."""
    issuer: str | None = None
    """Issuer that has registered ``client``, and that assertions are for.

    None: the first that the server names, which is noted where there is something secret to send.
    """
    metadata_url: str | None = None
    """URL of the client id metadata document: https, with a path."""
    client_name: str = "mcpcore"
    """Name that a client registers itself by, shown to the person who consents."""
    client_uri: str | None = None
    """Page about the client, for its registration."""
    scopes: frozenset[str] = frozenset()
    """Scopes to ask for besides those that the server names."""
    ceiling: frozenset[str] | None = None
    """Scopes that a token may have at most: no others are asked for, or taken; None: any.
    All are asked for where the server names none of them, as an issuer that is asked for none
    chooses by itself."""
    offline: bool = True
    """Ask for a refresh token where the issuer lists ``offline_access``."""
    dpop: DpopKey | None = None
    """Key that tokens are bound to (RFC 9449); None: bearer tokens."""
    fallbacks: bool = True
    """Allow the discovery of 2025-03-26 at a server without protected resource metadata."""
    private: bool = False
    """Allow authorization servers in private networks: otherwise their addresses are public ones.

    Those of this machine need a server on this machine, and no setting allows link-local ones.
    """
    foreign_metadata: bool = True
    """Allow protected resource metadata at another origin than the server's."""
    account: str = ""
    """Name that tells several accounts at one server apart."""
    max_flows: int = 3
    """Authorizations that one operation may cause before it is accepted, within a period."""
    flows_period: float = 300.0
    """Time in which these are counted; scopes that a person has denied are not asked for in it."""
    max_sign_ins: int = 20
    """Sign-ins of a person in that time, for all operations: a server could want one after each."""
    max_operations: int = 1000
    """Refused operations that are counted at a time; others fail without an authorization.  Denials
    that are remembered, too."""
    fetch_timeout: float = 10.0
    """Time for one request to the authorization server, its connection included."""
    user_timeout: float = 300.0
    """Time for a person to sign in."""
    early: float = 60.0
    """Most time before its end at which a token is refreshed; a tenth of its life at most."""

    def __post_init__(self) -> None:
        check_kinds(self)  # "false" is true, and would allow what it is to forbid
        # Within no time at all nothing would be counted, and sign-ins have no end.
        check_numbers(self, "early", "max_flows", "max_sign_ins", "max_operations")
        format_scopes(self.scopes | (self.ceiling or frozenset()))
        if self.client is not None and self.client.assertion_audience and self.issuer is None:
            raise ValueError("an assertion_audience needs the issuer that it belongs to")
        if self.metadata_url is not None:
            what = "the URL of the client id metadata document"
            url = parse_url(self.metadata_url, what)
            if url.scheme != "https" or url.path in ("", "/"):
                raise UrlRefused(what, "it is not https with a path")

    def allows(self, scopes: Collection[str] | None) -> bool:
        """Return True if a token may have these scopes; None: they are not told."""
        return self.ceiling is None or (scopes is not None and self.ceiling.issuperset(scopes))

    @property
    def trusting(self) -> bool:
        """True if a secret, a proof or an assertion goes to whatever issuer the server names."""
        client, grant = self.client, self.grant
        given = client is not None and (
            client.client_secret is not None or client.signing is not None or client.certificate
        )
        asserted = isinstance(grant, AssertionGrant | EnterpriseGrant)
        return self.issuer is None and (given or asserted)
