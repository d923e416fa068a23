"""Token requests: each grant's form, and each way in which a client authenticates itself."""

import json
from base64 import b64decode, urlsafe_b64decode
from urllib.parse import parse_qs, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mcpcore.auth.grants import (
    ID_JAG,
    ClientAuth,
    ClientIdentity,
    SigningInput,
    SigningKey,
    base64url,
    challenge_of,
    choose_method,
    client_assertion,
    client_credentials_grant,
    code_grant,
    exchange_grant,
    jwt_bearer_grant,
    refresh_grant,
    token_form,
)
from mcpcore.auth.metadata import ServerMetadata
from mcpcore.errors import AuthorizationError

KEY = SigningKey(algorithm="ES256", kid="k1")
PUBLIC = ClientIdentity(client_id="me")
SECRET = ClientIdentity(client_id="me", client_secret="s3cr3t")
SIGNING = ClientIdentity(client_id="me", signing=KEY)
TLS = ClientIdentity(client_id="me", certificate=True)
ALL = tuple(each.value for each in ClientAuth)


@pytest.mark.parametrize(
    ("client", "offered", "method"),
    [
        (PUBLIC, ("none",), ClientAuth.NONE),
        (PUBLIC, ("client_secret_basic",), ClientAuth.NONE),
        (PUBLIC, (), ClientAuth.NONE),
        (SECRET, ("client_secret_post", "client_secret_basic"), ClientAuth.BASIC),
        (SECRET, ("none", "client_secret_post"), ClientAuth.POST),
        (SIGNING, ALL, ClientAuth.PRIVATE_KEY),
        (TLS, ALL, ClientAuth.TLS),
        (TLS, ("self_signed_tls_client_auth",), ClientAuth.SELF_SIGNED_TLS),
        (replace(SECRET, signing=KEY), ALL, ClientAuth.PRIVATE_KEY),
        (replace(SECRET, method=ClientAuth.POST), ALL, ClientAuth.POST),
        (replace(SECRET, method=ClientAuth.POST), (), ClientAuth.POST),
        (replace(SECRET, method=ClientAuth.TLS), ALL, ClientAuth.BASIC),
    ],
)
def test_the_method_is_the_registered_one_or_the_best(
    client: ClientIdentity, offered: tuple[str, ...], method: str
) -> None:
    server = ServerMetadata(issuer="x", token_endpoint_auth_methods_supported=offered)
    assert choose_method(client, server) == method


@pytest.mark.parametrize(
    ("client", "offered", "named"),
    [
        (SECRET, (), "none"),
        (SECRET, ("none",), "none"),
        (SECRET, ("client_secret_jwt\x1b[2J",), r"client_secret_jwt\?\[2J"),
        (SIGNING, ("client_secret_basic",), "client_secret_basic"),
        (TLS, ("private_key_jwt",), "private_key_jwt"),
    ],
)
def test_without_a_common_method_there_is_none(
    client: ClientIdentity, offered: tuple[str, ...], named: str
) -> None:
    server = ServerMetadata(issuer="x", token_endpoint_auth_methods_supported=offered)
    with pytest.raises(AuthorizationError, match=f"it offers {named}$"):
        choose_method(client, server)


GRANT = client_credentials_grant("a b", "https://mcp.example/mcp")
FIELDS = {
    "grant_type": ["client_credentials"],
    "scope": ["a b"],
    "resource": ["https://mcp.example/mcp"],
}


@pytest.mark.parametrize(
    ("client", "method", "added"),
    [
        (PUBLIC, ClientAuth.NONE, {"client_id": ["me"]}),
        (TLS, ClientAuth.TLS, {"client_id": ["me"]}),
        (SECRET, ClientAuth.POST, {"client_id": ["me"], "client_secret": ["s3cr3t"]}),
        (SECRET, ClientAuth.BASIC, {"client_id": ["me"]}),
    ],
)
def test_a_form_has_what_its_method_takes(
    client: ClientIdentity, method: ClientAuth, added: dict[str, list[str]]
) -> None:
    form = token_form(GRANT, client, method)
    assert parse_qs(form.body().decode()) == FIELDS | added
    assert ("authorization" in form.headers) is (method is ClientAuth.BASIC)
    assert form.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "s3cr3t" not in repr(form)


def test_an_assertion_goes_with_its_type() -> None:
    form = token_form(GRANT, SIGNING, ClientAuth.PRIVATE_KEY, "a.b.c")
    assert parse_qs(form.body().decode()) == FIELDS | {
        "client_id": ["me"],
        "client_assertion": ["a.b.c"],
        "client_assertion_type": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
    }
    assert "a.b.c" not in repr(form)


@given(st.text(max_size=20), st.text(max_size=20))
def test_basic_encodes_whatever_the_texts_hold(id: str, secret: str) -> None:
    client = ClientIdentity(client_id=id, client_secret=secret)
    header = token_form(GRANT, client, ClientAuth.BASIC).headers["authorization"]
    scheme, _, coded = str.__str__(header).partition(" ")
    user, colon, password = b64decode(coded).decode().partition(":")
    assert (scheme, colon) == ("Basic", ":")
    assert (unquote_plus(user), unquote_plus(password)) == (id, secret)
    assert repr(header) == "<secret>"


@pytest.mark.parametrize(("kid", "named"), [("k1", {"kid": "k1"}), (None, {})])
def test_an_assertion_is_of_the_client_for_the_issuer(
    kid: str | None, named: dict[str, str]
) -> None:
    key = SigningKey(algorithm="ES256", kid=kid)
    made = client_assertion("me", key, audience="https://id.example", jti="j", wall=1000.9)
    assert made.header == {"alg": "ES256", "typ": "JWT", **named}
    assert made.claims == {
        "iss": "me",
        "sub": "me",
        "aud": "https://id.example",
        "jti": "j",
        "iat": 1000,
        "exp": 1060,
    }


def test_a_jwt_is_put_together() -> None:
    made = SigningInput(header={"alg": "x"}, claims={"a": 1})
    header, claims, signature = made.signed(b"\xff\xfe").split(".")
    assert f"{header}.{claims}".encode() == made.text
    parts = [json.loads(urlsafe_b64decode(each + "==")) for each in (header, claims)]
    assert parts == [made.header, made.claims]
    assert signature == "__4"
    assert base64url(b"") == b""


def test_the_challenge_is_that_of_the_rfc() -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636 appendix B
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


RESOURCE = "https://mcp.example/mcp"
ISSUER = "https://id.example"


@pytest.mark.parametrize(
    ("grant", "fields"),
    [
        (
            code_grant("c", "http://127.0.0.1:1/cb", "v", RESOURCE),
            {
                "grant_type": "authorization_code",
                "code": "c",
                "redirect_uri": "http://127.0.0.1:1/cb",
                "code_verifier": "v",
            },
        ),
        (
            refresh_grant("r", None, RESOURCE),
            {"grant_type": "refresh_token", "refresh_token": "r"},
        ),
        (
            refresh_grant("r", "a", RESOURCE),
            {"grant_type": "refresh_token", "refresh_token": "r", "scope": "a"},
        ),
        (client_credentials_grant(None, RESOURCE), {"grant_type": "client_credentials"}),
        (
            jwt_bearer_grant("j", "a", RESOURCE),
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "assertion": "j",
                "scope": "a",
            },
        ),
        (
            exchange_grant("t", "type", audience=ISSUER, resource=RESOURCE, scope=None),
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "requested_token_type": ID_JAG,
                "subject_token": "t",
                "subject_token_type": "type",
                "audience": ISSUER,
            },
        ),
    ],
)
def test_a_grant_has_its_parameters(grant: dict[str, str | None], fields: dict[str, str]) -> None:
    form = token_form(grant, PUBLIC, ClientAuth.NONE)
    sent = {name: values[0] for name, values in parse_qs(form.body().decode()).items()}
    assert sent == {**fields, "resource": RESOURCE, "client_id": "me"}
