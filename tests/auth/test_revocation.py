"""Sign-out: the token is forgotten at once, and revoked where it came from, nowhere else."""

from typing import Any
from urllib.parse import parse_qsl

import pytest

from mcpcore import AuthorizationSettings, ClientIdentity
from mcpcore.auth.endpoints import Endpoints
from mcpcore.auth.needs import Load, Lock, NeedFailed, Save, Stored, Unlock
from mcpcore.auth.records import ClientRecord, TokenRecord, token_key, written
from mcpcore.auth.registration import client_key
from mcpcore.auth.revocation import SignedOut, sign_out
from mcpcore.errors import AuthorizationError
from tests.auth.world import AS, GONE, ISSUER, KEY, SEED, SERVER, World, answer, basic

REVOKE = f"{ISSUER}/revoke"
NAME = token_key(SERVER, AuthorizationSettings())


def record(**changed: Any) -> TokenRecord:
    members: dict[str, Any] = {
        "resource": SERVER,
        "issuer": ISSUER,
        "token_endpoint": f"{ISSUER}/token",
        "client": ClientIdentity(client_id="me"),
        "access_token": "access-1",
        "refresh_token": "refresh-1",
    }
    return TokenRecord(**members | changed)


def stage(stored: TokenRecord | bytes | None = None, **metadata: Any) -> World:
    world = World()
    world.metadata |= {"revocation_endpoint": REVOKE} | metadata
    world.pages[REVOKE] = answer({})
    data = stored if isinstance(stored, bytes | None) else written(stored)
    if data is not None:
        world.store[KEY] = (data, 3)
    return world


def out(world: World) -> SignedOut:
    endpoints = Endpoints(AuthorizationSettings(), local=False, seed=SEED)
    return world.finish(sign_out(endpoints, NAME))


def sent(world: World) -> list[dict[str, str]]:
    posts = [each for each in world.sent if each.method == "POST"]
    assert {each.url for each in posts} <= {REVOKE}
    return [dict(parse_qsl(each.body.decode())) for each in posts]


def test_both_tokens_are_revoked_and_forgotten() -> None:
    world = stage(record())
    program = client_key(ISSUER, "client_credentials")
    for key in (client_key(ISSUER, NAME.grant), program):
        world.store[key] = (b"{}", 1)
    assert out(world) == SignedOut(found=True, revoked=True)
    assert world.store.keys() == {program}
    assert sent(world) == [
        {"token": "refresh-1", "token_type_hint": "refresh_token", "client_id": "me"},
        {"token": "access-1", "token_type_hint": "access_token", "client_id": "me"},
    ]


@pytest.mark.parametrize(("registered", "kept"), [("me", False), ("newer", True)])
def test_a_registration_that_the_token_is_not_of_is_kept(registered: str, kept: bool) -> None:
    world, key = stage(record()), client_key(ISSUER, NAME.grant)
    client = ClientIdentity(client_id=registered)
    made = ClientRecord(issuer=ISSUER, token_endpoint=f"{ISSUER}/token", client=client)
    world.store[key] = (written(made), 1)
    assert out(world).revoked
    assert (key in world.store) is kept


def test_the_status_alone_says_that_a_token_is_revoked() -> None:
    world = stage(record())
    world.pages[REVOKE] = answer({"error": "invalid_token"})
    assert out(world) == SignedOut(found=True, revoked=True)


def test_a_client_authenticates_itself_as_it_did() -> None:
    client = ClientIdentity(client_id="me", client_secret="s", method="client_secret_basic")  # type: ignore[arg-type]
    world = stage(record(client=client, refresh_token=None))
    assert out(world).revoked
    (post,) = (each for each in world.sent if each.method == "POST")
    assert str.__str__(post.headers["authorization"]) == basic("me", "s")


def test_a_client_with_a_certificate_goes_to_the_place_for_it() -> None:
    """RFC 8705 section 5: the token came from one origin, and the usual endpoint is at another."""
    place = "https://tls.id.example"
    world = stage(
        record(
            client=ClientIdentity(client_id="tls", certificate=True),
            token_endpoint=f"{place}/token",
        ),
        mtls_endpoint_aliases={"revocation_endpoint": f"{place}/revoke"},
    )
    world.pages[f"{place}/revoke"] = answer({})
    assert out(world) == SignedOut(found=True, revoked=True)
    assert [each.url for each in world.sent if each.method == "POST"] == [f"{place}/revoke"] * 2


def test_without_a_token_nothing_is_sent() -> None:
    world = stage()
    assert out(world) == SignedOut(found=False)
    assert not world.sent


def test_a_token_that_cannot_be_read_is_forgotten() -> None:
    world = stage(b'{"resource": 1}')
    assert out(world) == SignedOut(found=True, reason="the stored token cannot be read")
    assert (KEY in world.store, world.sent) == (False, [])


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"revocation_endpoint": None}, "the authorization server revokes no tokens"),
        ({"revocation_endpoint": "https://evil.example/revoke"}, "not at the origin of the token"),
        ({"revocation_endpoint": "http://id.example/revoke"}, "it is not an https URL"),
        ({"revocation_endpoint": "https://127.0.0.1/revoke"}, "its host is this machine"),
        ({"issuer": "https://evil.example"}, "it is of another issuer"),
    ],
)
def test_a_token_goes_to_its_issuer_alone(metadata: dict[str, Any], reason: str) -> None:
    world = stage(record(), **metadata)
    outcome = out(world)
    assert (outcome.found, outcome.revoked) == (True, False)
    assert reason in str(outcome.reason)
    assert not sent(world)
    assert KEY not in world.store


def test_an_issuer_without_metadata_revokes_nothing() -> None:
    world = stage(record())
    world.pages[f"{ISSUER}{AS}"] = GONE
    assert out(world).reason == "the authorization server revokes no tokens"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer({"error": "invalid_client"}, 401), "the token was not revoked (invalid_client)"),
        (
            answer({"error": "invalid_token", "error_description": "there is no refresh-1"}, 400),
            "the token was not revoked (invalid_token)",
        ),
        (answer(b"<html>", 503), "the token was not revoked (status 503)"),
        (NeedFailed("it went away"), f"{ISSUER}: it went away"),
    ],
)
def test_a_token_that_is_not_revoked_is_forgotten_all_the_same(reply: Any, reason: str) -> None:
    world = stage(record())
    world.pages[REVOKE] = reply
    assert out(world) == SignedOut(found=True, reason=reason)
    assert KEY not in world.store


def test_a_token_may_be_revoked_without_content() -> None:
    world = stage(record())
    world.pages[REVOKE] = answer(b"", 204)
    assert out(world) == SignedOut(found=True, revoked=True)


@pytest.mark.parametrize("kind", [Lock, Load, Save])
def test_a_store_that_fails_is_an_error_and_keeps_no_lock(kind: type) -> None:
    endpoints = Endpoints(AuthorizationSettings(), local=False, seed=SEED)
    steps = sign_out(endpoints, NAME)
    need, world, seen = next(steps), stage(record()), []

    def carry_out() -> None:
        at = need
        while True:
            seen.append(type(at))
            gone = type(at) is kind
            at = steps.send(NeedFailed("the disk is gone") if gone else world.carry_out(at))

    with pytest.raises(AuthorizationError, match="the disk is gone"):
        carry_out()
    assert (Unlock in seen) is (kind is not Lock)
    assert not world.sent


def test_the_version_that_was_seen_is_removed() -> None:
    steps = sign_out(Endpoints(AuthorizationSettings(), local=False, seed=SEED), NAME)
    world = stage(record())
    next(steps)
    steps.send(world.carry_out(Lock(key=KEY)))
    save = steps.send(Stored(written(record()), 7))
    assert isinstance(save, Save)
    assert (save.key, save.record, save.version) == (KEY, None, 7)
