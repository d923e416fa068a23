"""Tokens for upstream calls, without I/O: two grants, and what of the answers is refused."""

from typing import Any
from urllib.parse import parse_qsl

import pytest

from mcpcore.auth.endpoints import Endpoints
from mcpcore.auth.grants import ACCESS_TOKEN, EXCHANGE, ID_JAG, ID_TOKEN, ClientIdentity
from mcpcore.auth.settings import AuthorizationSettings
from mcpcore.auth.upstream import Subject, Upstream, UpstreamToken, upstream_token
from mcpcore.errors import AuthorizationError
from tests.auth.world import AS, GONE, ISSUER, SECRET, SEED, World, answer, basic

RESOURCE = "https://api.example/v1"


def got(world: World, subject: Subject | None = None, **changed: Any) -> UpstreamToken:
    members = {"resource": RESOURCE, "issuer": ISSUER, "client": SECRET} | changed
    endpoints = Endpoints(AuthorizationSettings(), local=False, seed=SEED)
    endpoints.wall = 1000.0
    return world.finish(upstream_token(endpoints, Upstream(**members), subject))  # type: ignore[arg-type]


def test_a_server_gets_a_token_of_its_own() -> None:
    world = World()
    token = got(world, scopes=frozenset({"b", "a"}))
    assert token.token.reveal() == "access-1"
    assert (token.scopes, token.expires_at) == (frozenset({"a", "b"}), 4600.0)
    (form,), (headers,) = world.forms(), world.headers()
    assert form == {
        "grant_type": "client_credentials",
        "scope": "a b",
        "resource": RESOURCE,
        "client_id": "pre id",
    }
    assert headers["authorization"] == basic("pre+id", "pre%3Asecret")


def test_a_server_with_a_certificate_goes_to_the_place_for_it() -> None:
    world = World()
    place = "https://tls.id.example/token"
    world.metadata["mtls_endpoint_aliases"] = {"token_endpoint": place}
    world.metadata["token_endpoint_auth_methods_supported"] = ["tls_client_auth"]
    got(world, client=ClientIdentity(client_id="tls", certificate=True))
    assert world.urls()[-1] == place


def test_a_token_of_a_person_is_exchanged() -> None:
    world = World(token={"issued_token_type": ACCESS_TOKEN, "refresh_token": None})
    subject = Subject(token="the-subject", kind=ID_TOKEN)
    assert got(world, subject, audience="api").token.reveal() == "access-1"
    assert world.forms() == [
        {
            "grant_type": EXCHANGE,
            "requested_token_type": ACCESS_TOKEN,
            "subject_token": "the-subject",
            "subject_token_type": ID_TOKEN,
            "audience": "api",
            "resource": RESOURCE,
            "client_id": "pre id",
        }
    ]
    assert "the-subject" not in repr(subject)


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ({"issued_token_type": ID_JAG}, "it is no access token"),
        ({}, "it is no access token"),
        ({"issued_token_type": ACCESS_TOKEN, "token_type": "N_A"}, "its type is not Bearer"),
        ({"issued_token_type": ACCESS_TOKEN, "token_type": "DPoP"}, "its type is not Bearer"),
        ({"issued_token_type": ACCESS_TOKEN, "access_token": "a\r\nb"}, "cannot be sent"),
        ({"issued_token_type": ACCESS_TOKEN, "access_token": ""}, "cannot be sent"),
    ],
)
def test_another_token_is_refused(token: dict[str, Any], told: str) -> None:
    with pytest.raises(AuthorizationError, match=told):
        got(World(token=token), Subject(token="x"))


@pytest.mark.parametrize(("lasts", "until"), [(None, None), (0, None), (-1, None), (1e300, None)])
def test_a_life_that_is_not_sound_is_not_told(lasts: Any, until: float | None) -> None:
    assert got(World(token={"expires_in": lasts})).expires_at == until


@pytest.mark.parametrize(
    ("pages", "changed", "told"),
    [
        ({f"{ISSUER}{AS}": GONE}, {}, "the authorization server cannot be used: it has no"),
        ({f"{ISSUER}/token": answer({"error": "invalid_client"}, 401)}, {}, "invalid_client"),
        ({f"{ISSUER}{AS}": {"issuer": "https://evil.example"}}, {}, "of another issuer"),
        ({f"{ISSUER}{AS}": {"issuer": ISSUER}}, {}, "it lacks the token endpoint"),
        (
            {f"{ISSUER}{AS}": {"issuer": ISSUER, "token_endpoint": "https://10.0.0.1/"}},
            {},
            "not a public address",
        ),
        ({}, {"resource": "http://api.example"}, "the resource cannot be used"),
        ({}, {"issuer": "http://id.example"}, "not an https URL"),
    ],
)
def test_nothing_is_sent_where_something_is_wrong(
    pages: dict[str, Any], changed: dict[str, Any], told: str
) -> None:
    world = World(pages=pages)
    with pytest.raises(AuthorizationError, match=told):
        got(world, **changed)
    secrets = [dict(parse_qsl(each.body.decode())) for each in world.sent if each.body]
    assert len(secrets) == ("invalid_client" in told)


@pytest.mark.parametrize(
    ("scopes", "told"), [(frozenset({'"'}), "a scope"), ("read", "not the string 'read'")]
)
def test_scopes_that_cannot_be_sent_are_a_mistake(scopes: Any, told: str) -> None:
    client = ClientIdentity(client_id="x")
    with pytest.raises(ValueError, match=told):
        Upstream(resource=RESOURCE, issuer=ISSUER, client=client, scopes=scopes)


def test_scopes_that_can_be_read_once_limit_every_token() -> None:
    scopes: Any = (each for each in "ba")
    upstream = Upstream(
        resource=RESOURCE, issuer=ISSUER, client=ClientIdentity(client_id="x"), scopes=scopes
    )
    assert upstream.scopes == frozenset("ab")
