"""The client's machine: states, tokens kept and refreshed, registrations, faults of all needs."""

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from mcpcore import AssertionGrant, AuthorizationSettings, ClientCredentialsGrant, CodeGrant
from mcpcore.auth.authorization import (
    AUTHORIZATION,
    Authorization,
    AuthSignal,
    AuthState,
    Refused,
    Remedy,
)
from mcpcore.auth.endpoints import Endpoints
from mcpcore.auth.grants import (
    ClientAuth,
    ClientIdentity,
    SigningKey,
    client_credentials_grant,
)
from mcpcore.auth.metadata import ErrorResponse
from mcpcore.auth.needs import (
    Done,
    Fetch,
    Fetched,
    Listen,
    Load,
    Lock,
    Need,
    NeedFailed,
    Obtain,
    OpenUrl,
    Outcome,
    Save,
    Sign,
    Signed,
    Stored,
    Text,
    Unlock,
    expect,
)
from mcpcore.auth.records import (
    ClientRecord,
    read_token_key,
    token_key,
    written,
)
from mcpcore.auth.registration import client_key
from mcpcore.auth.urls import parse_url
from mcpcore.errors import AuthorizationError, LocalProtocolError, UrlRefused
from tests.auth.world import (
    AS,
    DPOP,
    GONE,
    IDP,
    ISSUER,
    JWK,
    KEY,
    NAMED,
    OIDC,
    PRM,
    SECRET,
    SEED,
    SERVER,
    World,
    answer,
    basic,
    claims_of,
    enterprise,
    forbid,
    grants,
    key_of,
    lacking,
    loaded,
    play,
    put,
    ready,
    step_until,
    stopped,
    stored,
)

OTHER_KEY = replace(DPOP, jwk={**JWK, "x": "BB"})
SIGNING = ClientIdentity(client_id="x", signing=SigningKey(algorithm="ES256"))


# States


def test_every_state_is_reached_and_every_flow_can_fail() -> None:
    reached = {AuthState.IDLE}
    while more := {to for (at, _), to in AUTHORIZATION.items() if at in reached} - reached:
        reached |= more
    assert reached == set(AuthState)
    resting = {AuthState.IDLE, AuthState.READY, AuthState.FAILED}
    failing = {at for (at, signal) in AUTHORIZATION if signal is AuthSignal.FAIL}
    assert failing == set(AuthState) - resting
    assert {signal for _, signal in AUTHORIZATION} == set(AuthSignal)
    for names in ([each.value for each in AuthState], [each.value for each in AuthSignal]):
        assert all(names)


@pytest.mark.parametrize("kind", [Fetch, OpenUrl, Listen, Load, Save, Lock, Unlock, Sign, Obtain])
def test_needs_are_made_by_names_and_stay_as_they_are(kind: Any) -> None:
    fields = msgspec.structs.fields(kind)
    with pytest.raises(TypeError, match="positional"):
        kind(*(b"" for _ in fields))
    made = kind(**{field.name: b"" for field in fields})
    with pytest.raises(AttributeError, match="immutable"):
        setattr(made, fields[0].name, b"x")


def test_a_machine_begins_with_nothing() -> None:
    machine = World().client()
    assert (machine.state, machine.need, machine.token) == (AuthState.IDLE, None, None)
    assert machine.proof("POST", SERVER, wall=0.0) is None
    assert not machine.expiring(0.0)
    assert machine.expires_in(0.0) is None
    assert repr(machine) == f"Authorization('{SERVER}', idle)"
    assert machine.key == KEY


NAMED_BY: tuple[dict[str, Any], ...] = (
    {},
    {"account": "work"},
    {"account": '"work"'},
    {"issuer": ISSUER},
    {"client": SECRET},
    {"client": replace(SECRET, client_id=ISSUER)},
    {"metadata_url": "https://app.example/client.json"},
    {"grant": ClientCredentialsGrant(), "client": SECRET},
    {"grant": AssertionGrant(), "client": SECRET},
    {"client": SECRET, "issuer": ISSUER, "account": "work"},
)


@pytest.mark.parametrize("using", NAMED_BY)
def test_a_client_uses_its_own_token_and_leaves_those_of_others(using: dict[str, Any]) -> None:
    """Issuer, resource, client, account and grant tell tokens apart: no two replace each other."""
    world = World()
    for settings in NAMED_BY:
        ready(world, **settings)
    tokens = [key for key in world.store if key.startswith("token ")]
    assert len(tokens) == len(NAMED_BY)
    number = NAMED_BY.index(using) + 1
    assert loaded(world, **using).token == ("Bearer", f"access-{number}")
    assert read_token_key(key_of(SERVER, **using)) == token_key(
        SERVER, AuthorizationSettings(**using)
    )


def test_other_records_are_no_tokens() -> None:
    for key in ("", f"client {ISSUER}", "token x", "token []", 'token ["a"]', "token \ud800"):
        assert read_token_key(key) is None


def test_the_same_client_uses_one_token_whatever_else_differs() -> None:
    world = World()
    ready(world)
    assert loaded(world, scopes=frozenset({"b"}), offline=False, private=True).token is not None


def test_calls_come_in_order() -> None:
    machine = World().client()
    with pytest.raises(LocalProtocolError, match="no outcome"):
        machine.give(Done(), wall=0.0)
    machine.cancel("nothing to end", wall=0.0)
    machine.load(wall=0.0)
    with pytest.raises(LocalProtocolError, match="before all else"):
        machine.load(wall=0.0)
    with pytest.raises(LocalProtocolError, match="under way"):
        machine.start(None, wall=0.0)
    with pytest.raises(LocalProtocolError, match="a Done is no outcome"):
        machine.give(Done(), wall=0.0)


def test_a_signal_that_does_not_fit_is_a_mistake() -> None:
    machine = World().client()
    with pytest.raises(LocalProtocolError, match="'saved' is not possible in 'idle'"):
        machine._move(AuthSignal.SAVED)


@pytest.mark.parametrize(
    ("server", "private", "why"),
    [
        ("http://mcp.example/mcp", False, "https"),
        ("https://10.0.0.1/mcp", False, "not a public address; the setting `private` allows"),
        ("https://10.0.0.1/mcp", True, None),
        ("https://169.254.169.254/mcp", True, "not a public address$"),
        ("http://192.168.0.1/mcp", True, "https"),
        ("https://u:p@mcp.example", False, "plain"),
        ("ftp://mcp.example", False, "cannot be used: it is not a plain http or https URL$"),
        ("https://mcp.example/#x", False, "plain"),
    ],
)
def test_no_token_goes_to_some_servers(server: str, private: bool, why: str | None) -> None:
    settings = AuthorizationSettings(private=private)
    if why is None:
        assert Authorization(server, settings, seed=SEED).resource == server
    else:
        with pytest.raises(UrlRefused, match=why):
            Authorization(server, settings, seed=SEED)


def test_a_machine_needs_randomness() -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        Authorization(SERVER, seed=bytes(31))


def test_the_same_inputs_have_the_same_outputs() -> None:
    one, two = World(), World()
    ready(one)
    ready(two)
    assert [msgspec.structs.astuple(each) for each in one.sent] == [
        msgspec.structs.astuple(each) for each in two.sent
    ]
    assert one.opened == two.opened
    other = Authorization(SERVER, seed=bytes(32))
    third = World()
    third.refuse(other, challenge=NAMED)
    assert third.asked()[0]["state"] != one.asked()[0]["state"]


def test_each_flow_has_its_own_state_and_verifier() -> None:
    world = World()
    machine = ready(world)
    for scope in ("a", "b"):
        forbid(world, machine, scope)
    for name in ("state", "code_challenge"):
        assert len({asked[name] for asked in world.asked()}) == 3


# Settings


@pytest.mark.parametrize(
    "make",
    [
        lambda: AuthorizationSettings(metadata_url="http://app.example/client.json"),
        lambda: AuthorizationSettings(metadata_url="https://app.example/"),
        lambda: AuthorizationSettings(metadata_url="https://app.example"),
        lambda: AuthorizationSettings(scopes=frozenset({"a b"})),
        lambda: AuthorizationSettings(ceiling=frozenset({'"'})),
        lambda: AuthorizationSettings(client=replace(SIGNING, assertion_audience=ISSUER)),
    ],
)
def test_settings_that_cannot_hold_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"cannot be used|visible ASCII|needs the issuer"):
        make()


@pytest.mark.parametrize("url", ["http://app.example/cb", "com.example.app:/cb"])
def test_a_redirect_goes_to_loopback_or_is_encrypted(url: str) -> None:
    with pytest.raises(UrlRefused, match="the redirect URI cannot be used: it is n"):
        CodeGrant(redirect_uri=url)


# Tokens that were stored

RECORD = {
    "resource": SERVER,
    "issuer": ISSUER,
    "token_endpoint": f"{ISSUER}/token",
    "client": {"client_id": "x"},
}


@pytest.mark.parametrize("later", [3600, 10_000])
@pytest.mark.parametrize("refreshable", [True, False])
def test_a_stored_token_that_is_over_is_refreshed_or_not_used(
    refreshable: bool, later: int
) -> None:
    """A request without a token might be answered, as one of nobody."""
    world = World(token={} if refreshable else {"refresh_token": None})
    ready(world)
    world.wall += later
    machine = loaded(world)
    assert machine.expiring(world.wall) is refreshable
    if refreshable:
        world.renew(machine)
    else:
        assert (machine.state, machine.token) == (AuthState.IDLE, None)
        world.refuse(machine)
    assert grants(world)[1:] == ["refresh_token" if refreshable else "authorization_code"]
    assert machine.token == ("Bearer", "access-2")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\xff",
        b"[" * 10_000,
        b'{"resource": 1}',
        json.dumps({**RECORD, "access_token": "stored", "scopes": ["a b"]}).encode(),
        json.dumps({**RECORD, "access_token": "a\nb"}).encode(),
    ],
)
def test_a_record_that_cannot_be_read_is_replaced(data: bytes) -> None:
    world = World(store={KEY: (data, 7)})
    machine = loaded(world)
    assert (machine.state, machine.token) == (AuthState.IDLE, None)
    assert machine.notes == ["the stored token cannot be read and is replaced"]
    world.refuse(machine)
    assert stored(world).access_token == "access-1"


def test_a_store_that_fails_ends_the_load() -> None:
    machine = World().client()
    machine.load(wall=0.0)
    machine.give(NeedFailed("the disk is\ngone"), wall=0.0)
    assert machine.state is AuthState.FAILED
    assert str(machine.error) == "the disk is?gone"


def test_a_load_that_is_cancelled_can_begin_anew() -> None:
    world = World()
    token = ready(world).token
    machine = world.client()
    machine.load(wall=world.wall)
    machine.cancel("nobody waits", wall=world.wall)
    assert (machine.state, machine.error, machine.need) == (AuthState.IDLE, None, None)
    assert world.load(machine).token == token


def test_a_token_of_the_other_scheme_is_not_used() -> None:
    world = World()
    ready(world)
    machine = loaded(world, dpop=DPOP)
    assert machine.token is None
    world.token["token_type"] = "DPoP"
    world.refuse(machine)
    assert grants(world) == ["authorization_code"] * 2
    assert loaded(world).token is None
    assert loaded(world, dpop=DPOP).token == ("DPoP", "access-2")


@pytest.mark.parametrize("thumbprint", [None, "x"])  # None: stored before records told the key
def test_a_token_of_another_key_is_neither_used_nor_refreshed(thumbprint: str | None) -> None:
    world = World(token={"token_type": "DPoP"})
    ready(world, dpop=DPOP)
    assert loaded(world, dpop=DPOP).token is not None
    put(world, thumbprint=thumbprint)
    machine = loaded(world, dpop=DPOP)
    assert machine.token is None
    world.refuse(machine)
    assert grants(world) == ["authorization_code"] * 2
    world.refuse(loaded(world, dpop=DPOP))
    assert grants(world)[2:] == ["refresh_token"]
    assert loaded(world, dpop=OTHER_KEY).token is None


@pytest.mark.parametrize("jwk", [{"kty": "oct"}, {**JWK, "d": "AA"}], ids=["oct", "private"])
def test_a_key_is_public_and_has_a_thumbprint(jwk: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not a public key of a known kind"):
        replace(DPOP, jwk=jwk)  # each proof would show it


@pytest.mark.parametrize(
    ("ceiling", "used"),
    [
        (None, True),
        ({"a", "b", "c"}, True),
        ({"a", "b"}, True),
        ({"a"}, False),
        ((), False),
    ],
)
@pytest.mark.parametrize("told", [True, False])
def test_a_stored_token_is_used_within_the_ceiling_alone(
    ceiling: Any, used: bool, told: bool
) -> None:
    world = World()
    ready(world, scopes=frozenset({"a", "b"}))
    if not told:  # a token with unknown scopes may have any
        put(world, scopes=None)
        used = ceiling is None
    machine = loaded(world, ceiling=None if ceiling is None else frozenset(ceiling))
    assert (machine.token is not None) is used
    if not used:  # nor is it refreshed for a request that is refused
        world.refuse(machine)
        assert "refresh_token" not in grants(world)


OWN = (CodeGrant(), ClientCredentialsGrant(), AssertionGrant(), enterprise(World())["grant"])


# Refresh


def test_a_refused_token_is_refreshed() -> None:
    world = World()
    machine = ready(world, scopes=frozenset({"a"}))
    world.refuse(machine)
    assert machine.state is AuthState.READY
    assert (machine.generation, machine.token) == (2, ("Bearer", "access-2"))
    form = world.forms()[1]
    assert form == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh-1",
        "scope": "a",
        "resource": SERVER,
        "client_id": "client-1",
    }
    assert stored(world).refresh_token == "refresh-2"
    assert len(world.opened) == 1


def test_an_expiring_token_is_refreshed_before_its_end() -> None:
    world = World()
    machine = ready(world)
    assert machine.expires_in(world.wall + 600) == 3000
    assert not machine.expiring(world.wall + 3600 - 61)
    assert machine.expiring(world.wall + 3600 - 60)
    assert machine.start(None, wall=world.wall)
    world.run(machine)
    assert (machine.generation, grants(world)[-1]) == (2, "refresh_token")


def test_a_refresh_in_vain_is_not_repeated_for_each_request() -> None:
    """The token is good for a minute: another attempt halfway, and at its end."""
    world = World()
    machine = ready(world)
    world.pages[f"{ISSUER}/token"] = answer({"error": "temporarily_unavailable"}, 503)
    world.wall += 3540
    for _ in range(2):
        assert machine.expiring(world.wall)
        machine.start(None, wall=world.wall)
        assert not machine.expiring(world.wall)  # requests meanwhile wait for nothing
        world.run(machine)
        assert (machine.error is None, machine.token) == (False, ("Bearer", "access-1"))
        assert not machine.expiring(world.wall + 29)
        world.wall += 30
    assert machine.expiring(world.wall)  # it has ended
    del world.pages[f"{ISSUER}/token"]
    world.renew(machine)
    assert (machine.error, machine.token) == (None, ("Bearer", "access-2"))


@pytest.mark.parametrize(
    ("token", "grant", "expiring"),
    [
        ({"expires_in": None}, CodeGrant(), False),
        ({"expires_in": 100}, CodeGrant(), False),
        ({"expires_in": 100, "refresh_token": None}, CodeGrant(), False),
        ({"expires_in": 10, "refresh_token": None}, CodeGrant(), False),
        ({"expires_in": 10, "refresh_token": None}, ClientCredentialsGrant(), True),
        ({"expires_in": 10}, CodeGrant(), True),
    ],
)
def test_a_token_that_cannot_be_refreshed_is_used_to_its_end(
    token: dict[str, Any], grant: Any, expiring: bool
) -> None:
    world = World(token=token)
    world.metadata["token_endpoint_auth_methods_supported"].append("client_secret_post")
    assert ready(world, grant=grant).expiring(world.wall + 9) is expiring


OVER = pytest.mark.parametrize("error", ["invalid_grant", "invalid_client", "unauthorized_client"])


@OVER
def test_a_refresh_token_that_is_over_leads_to_a_new_sign_in(error: str) -> None:
    world = World()
    machine = ready(world)
    refusals = [answer({"error": error}, 400)]

    def token(world: World, need: Fetch, form: dict[str, str]) -> Fetched:
        return refusals.pop() if refusals else world.give_token(form)

    world.pages[f"{ISSUER}/token"] = token
    world.refuse(machine)
    assert machine.state is AuthState.READY
    assert grants(world) == ["authorization_code", "refresh_token", "authorization_code"]
    assert len(world.registered) == (2 if error == "invalid_client" else 1)
    assert stored(world).access_token == "access-2"


REFUSALS = [
    *((each, 400) for each in ("invalid_scope", "invalid_request", "invalid_target")),
    ("unsupported_grant_type", 400),
    ("invalid_dpop_proof", 401),
    ("its_own", 403),
    ("bad_refresh_token", 200),
    ("bad_refresh_token", 201),
]


def test_tokens_of_other_processes_use_up_no_authorization() -> None:
    """They may all be of an issuer that the server trusts no more."""
    world = World()
    ready(world)
    machine = loaded(world)
    for _ in range(AuthorizationSettings().max_flows):
        world.refuse(loaded(world), operation="theirs")
        world.refuse(machine, operation="ours")
        assert machine.token == ("Bearer", stored(world).access_token)
    before = grants(world)
    for _ in range(2):
        world.refuse(machine, operation="ours")
    assert grants(world)[len(before) :] == ["refresh_token", "authorization_code"]


def test_a_stored_token_that_cannot_be_removed_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was replaced: an issuer revokes all if it comes once more."""
    world = World()
    ready(world)
    machine, before = loaded(world), dict(world.store)
    with monkeypatch.context() as full:
        full.setattr(world, "save", lambda need: NeedFailed("the disk is full"))
        world.refuse(machine, operation="a")
        world.pages[f"{ISSUER}/token"] = answer({"error": "invalid_grant"}, 400)
        world.refuse(machine, operation="b")
        del world.pages[f"{ISSUER}/token"]
        assert (machine.token, world.store) == (None, before)
    known = grants(world)
    world.refuse(machine, operation="c")
    assert grants(world)[len(known) :] == ["authorization_code"]
    assert (world.reused, stored(world).access_token) == (0, "access-3")


def test_a_token_may_come_with_status_201() -> None:
    """Frameworks that answer each POST so do it here as well; Supabase's server, for one."""

    def created(world: World, need: Fetch, form: dict[str, str]) -> Fetched:
        return replace(world.give_token(form), status=201)

    world = World(pages={f"{ISSUER}/token": created})
    world.refuse(ready(world))
    assert grants(world) == ["authorization_code", "refresh_token"]


@pytest.mark.parametrize(("error", "status"), REFUSALS)
def test_a_refresh_that_is_refused_leads_to_a_new_sign_in(error: str, status: int) -> None:
    """A new process has no other way to a token; the record is there until there is one."""
    world = World()
    ready(world)
    machine = loaded(world)
    world.pages[f"{ISSUER}/token"] = answer({"error": error}, status)
    machine.start(Refused(status=401, lines=("Bearer",), generation=1), wall=world.wall)
    step_until(world, machine, OpenUrl)
    assert machine.notes == [f"the token was not refreshed ({error})"]
    assert stored(world).refresh_token == "refresh-1"
    del world.pages[f"{ISSUER}/token"]
    world.run(machine)
    assert (machine.error, machine.token) == (None, ("Bearer", "access-2"))
    assert stored(world).access_token == "access-2"


@pytest.mark.parametrize(("error", "status"), REFUSALS)
def test_a_refresh_before_the_end_asks_nobody(error: str, status: int) -> None:
    world = World()
    machine = ready(world)
    world.pages[f"{ISSUER}/token"] = answer({"error": error}, status)
    world.renew(machine)
    assert str(machine.error) == f"the token was not refreshed ({error})"
    assert (machine.token, len(world.opened)) == (("Bearer", "access-1"), 1)


@OVER
@pytest.mark.parametrize("later", [0, 3600])
def test_a_token_whose_refresh_is_over_goes_on_until_it_is_refused(error: str, later: int) -> None:
    """A person is asked while a refused request waits for it, and not ahead, in its own time."""
    world = World()
    machine = ready(world)
    world.pages[f"{ISSUER}/token"] = answer({"error": error}, 400)
    world.wall += later
    world.renew(machine)
    assert str(machine.error) == f"the token was not refreshed ({error})"
    assert (machine.token, len(world.opened)) == (("Bearer", "access-1"), 1)
    assert not machine.expiring(world.wall + 3600)  # no request is held up any more
    del world.pages[f"{ISSUER}/token"]
    world.refuse(machine)
    assert (machine.error, machine.token) == (None, ("Bearer", "access-2"))
    assert len(world.opened) == 2


def test_a_token_that_another_process_has_forgotten_goes_on_until_it_is_refused() -> None:
    world = World()
    machine = ready(world)
    world.store.clear()
    world.renew(machine)
    assert str(machine.error) == "the refresh token is not in the store any more"
    assert (machine.token, len(world.opened)) == (("Bearer", "access-1"), 1)
    world.refuse(machine)
    assert (machine.error, len(world.opened)) == (None, 2)


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (
            answer({"error": "server_error", "error_description": "a\x1bb"}, 500),
            "(server_error): a?b",
        ),
        (answer({"error": "temporarily_unavailable", "status": 400}, 503), "(temporarily_unava"),
        (answer({"error": "slow_down"}, 429), "(slow_down)"),
        (answer({"error": "use_dpop_nonce"}, 400), "(use_dpop_nonce)"),
        (answer(b"<html>", 502), "(status 502)"),
        (answer({}, 302), "(status 302)"),
        (NeedFailed("no route"), f"{ISSUER}: no route"),
    ],
)
def test_a_refresh_that_fails_otherwise_keeps_the_record(page: Any, told: str) -> None:
    world = World()
    machine = ready(world)
    world.pages[f"{ISSUER}/token"] = page
    world.refuse(machine)
    assert machine.state is AuthState.FAILED
    assert told in str(machine.error)
    assert stored(world).refresh_token == "refresh-1"
    assert len(world.opened) == 1


@pytest.mark.parametrize("method", [None, ClientAuth.PRIVATE_KEY])
def test_a_refresh_has_the_credentials_that_the_settings_name_now(
    method: ClientAuth | None,
) -> None:
    """A secret that was changed since, and then a key in its place."""
    world = World()
    ready(world, client=SECRET, issuer=ISSUER)
    other = replace(SECRET, client_secret="other")
    world.refuse(loaded(world, client=other, issuer=ISSUER))
    world.refuse(loaded(world, client=other, issuer=ISSUER))
    assert [each.get("authorization") for each in world.headers()] == [
        basic("pre+id", "pre%3Asecret"),
        *[basic("pre+id", "other")] * 2,
    ]
    key = replace(SIGNING, client_id=SECRET.client_id, method=method)
    world.refuse(loaded(world, client=key, issuer=ISSUER))
    assert grants(world)[1:] == ["refresh_token"] * 3
    assert claims_of(world.forms()[3]["client_assertion"])["aud"] == ISSUER
    data, _ = world.store[key_of(SERVER, client=key, issuer=ISSUER)]
    assert b"other" not in data  # the old secret is not kept


def test_an_empty_refresh_token_is_none() -> None:
    world = World()
    machine = ready(world)
    world.token = {"refresh_token": ""}
    world.refuse(machine)
    assert (machine.error, stored(world).refresh_token) == (None, "refresh-1")
    world = World(token={"refresh_token": ""})
    assert ready(world).token == ("Bearer", "access-1")
    assert stored(world).refresh_token is None


def test_scopes_are_not_lost_by_a_new_sign_in() -> None:
    world = World(token={"refresh_token": None})
    machine = ready(world, scopes=frozenset({"a"}))
    forbid(world, machine, "b")
    machine.accepted("")
    world.refuse(machine, challenge='Bearer scope="a"')
    assert [asked["scope"] for asked in world.asked()] == ["a", "a b", "a b"]


# Generations and other processes


def test_a_token_of_another_process_is_used() -> None:
    world = World()
    machine = ready(world)
    put(world, access_token="other", scopes=("a", "b"))
    world.refuse(machine)
    assert (machine.token, machine.generation) == (("Bearer", "other"), 2)
    assert len(world.forms()) == 1
    put(world, access_token="third", scopes=("a", "b", "c"))
    forbid(world, machine, "b c")
    assert machine.token == ("Bearer", "third")
    assert len(world.forms()) == 1


def test_a_token_of_another_process_that_does_not_serve_is_not() -> None:
    world = World()
    machine = ready(world)
    put(world, access_token="other", scopes=("a",))
    forbid(world, machine, "a b")
    assert grants(world) == ["authorization_code"] * 2
    put(world, access_token="other", expires_at=world.wall)
    machine.accepted("")
    world.refuse(machine)
    assert grants(world)[2:] == ["refresh_token"]


def test_a_token_that_is_not_stored_is_used() -> None:
    world = World()
    machine = world.client()
    machine.start(Refused(status=401), wall=world.wall)
    while machine.need is not None:
        full = isinstance(machine.need, Save)
        outcome = NeedFailed("the disk is full") if full else world.carry_out(machine.need)
        machine.give(outcome, wall=world.wall)
    assert machine.token == ("Bearer", "access-1")
    unstored = "is not stored: the disk is full"
    assert machine.notes == [f"the registration {unstored}", f"the token {unstored}"]
    assert not world.store


def refresh_in_vain(world: World, machine: Authorization, end: str) -> None:
    """Refresh the token while each Save fails, or until that of the new token is cancelled."""
    machine.start(Refused(status=401, generation=machine.generation), wall=world.wall)
    while machine.need is not None:
        if end == "fails" and isinstance(machine.need, Save):
            machine.give(NeedFailed("the disk is full"), wall=world.wall)
        elif machine.state is AuthState.SAVING:
            machine.cancel("enough", wall=world.wall)
        else:
            machine.give(world.carry_out(machine.need), wall=world.wall)
    machine.accepted("")


def test_a_token_that_was_removed_is_not_stored_again() -> None:
    world = World()
    machine = ready(world)
    world.lose_tokens()
    world.refuse(machine)
    assert grants(world) == ["authorization_code"] * 2


UNSTORED = pytest.mark.parametrize("end", ["fails", "is cancelled"])


@UNSTORED
def test_a_refresh_token_that_is_not_stored_is_the_next_to_be_used(end: str) -> None:
    """The one in the store was used: to send it again would end all tokens of the family."""
    world = World()
    machine = ready(world)
    for _ in range(2):
        refresh_in_vain(world, machine, end)
    assert stored(world).refresh_token == ("refresh-1" if end == "fails" else "refresh-2")
    world.refuse(machine)
    used = [form.get("refresh_token") for form in world.forms()]
    assert (used, world.reused) == ([None, "refresh-1", "refresh-2", "refresh-3"], 0)
    assert stored(world).refresh_token == "refresh-4"


@UNSTORED
def test_a_token_that_is_not_stored_is_so_by_the_next_flow(end: str) -> None:
    world = World()
    machine = ready(world)
    refresh_in_vain(world, machine, end)
    world.pages[f"{ISSUER}/token"] = NeedFailed("no route")
    world.refuse(machine)
    assert (stored(world).refresh_token, machine.token) == ("refresh-2", ("Bearer", "access-2"))


@UNSTORED
@pytest.mark.parametrize("removed", [True, False])
def test_what_others_have_stored_goes_before_a_token_that_is_not(end: str, removed: bool) -> None:
    world = World()
    machine = ready(world)
    refresh_in_vain(world, machine, end)
    put(world, access_token="other", refresh_token="another")
    if removed:
        world.lose_tokens()
    world.refuse(machine)
    assert grants(world)[2:] == ["authorization_code"] * removed
    assert machine.token == ("Bearer", "access-3" if removed else "other")


@pytest.mark.parametrize("named", ["?tenant=a", ""])
def test_each_query_of_a_server_has_a_token_of_its_own(named: str) -> None:
    world = World()
    world.resource["resource"] = f"{SERVER}{named}"
    world.pages[f"{PRM}/mcp?tenant=a"] = world.resource
    machine = Authorization(f"{SERVER}?tenant=a", seed=SEED)
    world.refuse(machine)
    assert machine.state is AuthState.READY, machine.error
    assert world.urls()[0] == f"{PRM}/mcp?tenant=a"
    assert world.asked()[0]["resource"] == f"{SERVER}{named}"
    again, other = (Authorization(f"{SERVER}?tenant={name}", seed=SEED) for name in "ab")
    for each, state in ((again, AuthState.READY), (other, AuthState.IDLE)):
        assert world.load(each).state is state
    world.pages[f"{PRM}/mcp?tenant=b"] = {**world.resource, "resource": f"{SERVER}?tenant=a"}
    assert "it is about another resource" in str(world.refuse(other).error)


# Refusals


@pytest.mark.parametrize("challenge", ["", "Bearer", 'Bearer error="invalid_token"', "Basic"])
def test_a_403_without_a_need_for_scopes_is_final(challenge: str) -> None:
    world = World()
    machine = ready(world)
    with pytest.raises(AuthorizationError, match="the request: it names no scope that would help"):
        world.refuse(machine, 403, challenge)
    assert len(world.opened) == 1


def test_the_challenge_of_the_scheme_in_use_counts() -> None:
    both = 'DPoP scope="dpop", Bearer scope="bearer"'
    for dpop, kind, scope in ((None, "Bearer", "bearer"), (DPOP, "DPoP", "dpop")):
        world = World(token={"token_type": kind})
        world.refuse(world.client(dpop=dpop), challenge=both)
        assert world.asked()[0]["scope"] == scope


@pytest.mark.parametrize(
    ("challenge", "asked"),
    [
        ('DPoP algs="ES256", Bearer resource_metadata="{}"', True),
        ('Bearer resource_metadata="{}", DPoP algs="ES256"', True),
        ('DPoP resource_metadata="{}", Bearer resource_metadata="https://mcp.example/no"', True),
        ('DPoP algs="ES256", Digest resource_metadata="{}"', False),
    ],
)
def test_any_challenge_of_oauth_names_the_metadata(challenge: str, asked: bool) -> None:
    place = "https://mcp.example/custom/metadata.json"
    world = World(token={"token_type": "DPoP"})
    world.pages[place] = world.resource
    world.refuse(world.client(dpop=DPOP), challenge=challenge.format(place))
    assert (world.urls()[0] == place) is asked


def test_a_challenge_of_dpop_alone_needs_a_client_with_a_key() -> None:
    world = World(token={"token_type": "DPoP"})
    alone = 'DPoP algs="ES256"'
    machine = world.refuse(world.client(), challenge=alone)
    assert "bound to a DPoP key alone" in str(machine.error)
    assert not world.opened
    world.resource["dpop_bound_access_tokens_required"] = True
    ready(world, alone, dpop=DPOP)
    del world.resource["dpop_bound_access_tokens_required"]
    world.refuse(world.client(), challenge=f"{alone}, Bearer")
    assert len(world.opened) == 2


def test_flows_are_counted_by_operation_until_it_is_accepted() -> None:
    world = World()
    machine = world.client(max_flows=1)
    world.refuse(machine, operation="a")
    world.refuse(machine, operation="b")
    with pytest.raises(AuthorizationError, match="refuses a after 1 authorizations"):
        world.refuse(machine, operation="a")
    machine.accepted("a")
    machine.accepted("a")
    world.refuse(machine, operation="a")
    assert machine.generation == 3
    with pytest.raises(AuthorizationError, match="refuses a after 1 authorizations"):
        world.refuse(machine, operation="a")
    for jump in (300, -10_000):
        world.wall += jump
        world.refuse(machine, operation="a")
    assert machine.generation == 5
    machine = World().client(max_flows=0)
    with pytest.raises(AuthorizationError, match="refuses the request: it takes"):
        world.refuse(machine)


def test_an_operation_that_wants_another_scope_each_time_has_an_end() -> None:
    world = World()
    machine = world.client(max_flows=2)
    x1, x2, x3 = (lacking(f"x{number}") for number in "123")
    for challenge in (x1, x2):
        world.refuse(machine, 403, challenge, "a")
    told = "refuses a after 2 authorizations: it asks for x3 as well, beyond `max_flows`"
    with pytest.raises(AuthorizationError, match=told):
        world.refuse(machine, 403, x3, "a")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "nobody is there"),
        ({"ceiling": frozenset({"a"})}, "the server asks for scopes that are not allowed: x"),
    ],
)
def test_a_refusal_that_no_flow_could_cure_tells_why(status: int, settings: Any, why: str) -> None:
    world = World(token={"refresh_token": None})
    machine = ready(world, **settings)
    world.reply = lambda *_: NeedFailed("nobody is there")
    challenge = lacking("x")
    for _ in range(3):
        assert str(world.refuse(machine, status, challenge, "a").error) == why
    told = f"refuses a after 3 authorizations: the last one failed: {why}"
    with pytest.raises(AuthorizationError, match=told):
        world.refuse(machine, status, challenge, "a")


@pytest.mark.parametrize("grant", OWN, ids=lambda grant: grant.kind)
@pytest.mark.parametrize(
    ("status", "challenge", "granted", "most", "told"),
    [
        (401, "Bearer", None, 2, f": it takes no token that is got for {SERVER}: is that"),
        (403, lacking("a"), None, 1, ": it asks for a, which the"),
        (403, lacking("a"), "a b", 0, ": it asks for a, which"),
        (403, lacking("a b"), "b", 1, ": the authorization server does not grant a to this acc"),
        (
            403,
            'Bearer scope="a", error_description="a role is missing"',
            None,
            0,
            r" \(a role is missing\): it names no scope .+; this account may lack a role",
        ),
    ],
)
def test_a_refusal_that_no_token_cures_asks_for_few(
    grant: Any, status: int, challenge: str, granted: str | None, most: int, told: str
) -> None:
    world = World(token={"refresh_token": None} | ({} if granted is None else {"scope": granted}))
    enterprise(world)
    machine = ready(world, grant=grant, client=SECRET)
    most = most if isinstance(grant, CodeGrant) else min(most, 1)
    for _ in range(most):
        world.refuse(machine, status, challenge, "a")
        assert machine.state is AuthState.READY
    after = f" after {most} authorizations" if most else ""
    with pytest.raises(AuthorizationError, match=f"refuses a{after}{told}"):
        world.refuse(machine, status, challenge, "a")
    assert len(world.forms()) == most + 1 + (IDP in world.urls()) * (most + 1)
    forbid(world, machine, "other")  # of another operation, and for other scopes
    world.refuse(machine, 403, lacking("x"), "a")
    assert machine.state is AuthState.READY


@pytest.mark.parametrize(
    ("supported", "ceiling", "asked"),
    [
        (["read", "write"], None, "read write"),
        (["read", "write", "admin"], {"read", "write"}, "read write"),
        (["read"], None, None),
        (["read", "write"], {"read"}, None),
        (None, None, None),
    ],
)
def test_scopes_that_are_wanted_and_not_named_are_those_of_the_metadata_once(
    supported: list[str] | None, ceiling: set[str] | None, asked: str | None
) -> None:
    world = World()
    machine = world.client(ceiling=None if ceiling is None else frozenset(ceiling))
    world.refuse(machine, challenge='Bearer scope="read"')
    if supported is not None:
        world.resource["scopes_supported"] = supported
    for number in range(2):
        world.refuse(machine, 403, 'Bearer error="insufficient_scope"', "a")
        told = "" if asked and not number else "it wants more scopes and does not name them"
        assert str(machine.error or "").endswith(told)
        assert (machine.error is None) is (told == "")
    assert len(world.opened) == 1 + (asked is not None)
    if asked is not None:
        assert world.asked()[-1]["scope"] == asked


def deny(_: World, need: OpenUrl, asked: dict[str, str]) -> str:
    return urlencode({"error": "access_denied", "state": asked["state"]})


def test_a_denial_of_scopes_that_are_not_named_is_remembered_by_itself() -> None:
    world = World()
    machine = ready(world)
    world.resource["scopes_supported"] = ["all"]
    world.reply = deny
    world.refuse(machine, 403, 'Bearer error="insufficient_scope"', "a")
    assert "access_denied" in str(machine.error)
    with pytest.raises(AuthorizationError, match="lately denied: the server does not name them"):
        world.refuse(machine, 403, 'Bearer error="insufficient_scope"', "b")
    world.reply = None
    world.refuse(machine, 403, lacking("write"), "b")
    assert machine.error is None


def test_an_error_repeats_no_secret_that_another_party_repeats() -> None:
    world = World()
    machine = ready(world, client=SECRET)
    world.token["refresh_token"] = None
    for _ in range(3):
        world.refuse(machine, operation="a")
    assert machine.token is not None
    echo = machine.token[1].reveal()
    with pytest.raises(AuthorizationError, match=r"^the server refuses a after 3 auth[a-z]+: it"):
        world.refuse(machine, challenge=f'Bearer error_description="{echo} is bad"', operation="a")
    echoes = ("pre:secret", "pre%3Asecret", basic("pre+id", "pre%3Asecret")[6:])
    for echo in (*echoes, "code-1", "refresh-1", "harmless"):
        for member in ("error", "error_description"):
            other = World()
            expiring = "refresh" in echo
            one = ready(other, client=SECRET) if expiring else other.client(client=SECRET)
            page = answer({"error": "invalid_request", member: f"<{echo}>"}, 400)
            other.pages[f"{ISSUER}/token"] = page
            one.start(None if expiring else Refused(status=401), wall=other.wall)
            error = str(other.run(one).error)
            assert (echo in error) is (echo == "harmless")
            assert ("invalid_request" in error) is (member != "error")


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "other"])
def test_an_error_code_is_taken_for_no_secret(code: str) -> None:
    world = World()
    world.pages[f"{ISSUER}/token"] = answer({"error": code}, 400)
    for secret in ("grant", "client", "other"):
        machine = world.client(client=ClientIdentity(client_id="me", client_secret=secret))
        told = "a secret is repeated" if code == secret else code
        assert f"({told})" in str(world.refuse(machine).error)


@pytest.mark.parametrize("secret", ["access-{}", "refresh-{}", "pre:secret"])
@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer error="insufficient_scope", scope="a <>"',
        'Bearer error="insufficient_scope", scope="<>:x", error_description="<>"',
        f'Bearer error="insufficient_scope", resource_metadata="{PRM}/<>"',
        'Basic realm="<>"',
    ],
)
def test_a_challenge_that_repeats_a_secret_names_nothing(challenge: str, secret: str) -> None:
    world = World()
    machine = ready(world, "Bearer", client=SECRET, max_flows=1)
    status = 403 if "Bearer" in challenge else 401
    if status == 401:
        over = answer({"error": "invalid_grant"}, 400)
        world.pages |= {f"{PRM}/mcp": GONE, f"{ISSUER}/token": over}
    echoes, shown = [], []
    for _ in range(2):
        echoes.append(secret.format(world.tokens))
        world.resource["scopes_supported"] = ["b", echoes[-1]]
        try:
            world.refuse(machine, status, challenge.replace("<>", echoes[-1]), "a")
        except AuthorizationError as error:
            shown.append(str(error))
        shown.append(str(machine.error))
    shown += [*world.opened, *world.urls(), *machine.notes]
    assert not [text for text in shown for echo in echoes if echo in text]
    if status == 403:
        assert [each.get("scope") for each in world.asked()] == [None, "b"]


@pytest.mark.parametrize("secret", ["s", "notes", "scope", "bearer", "bear", "insufficient"])
def test_what_a_challenge_names_is_taken_for_no_secret(secret: str) -> None:
    world = World()
    machine = ready(world, "Bearer", client=ClientIdentity(client_id="me", client_secret=secret))
    world.refuse(machine, 403, lacking("notes:write"), "a")
    assert machine.error is None
    assert world.asked()[-1]["scope"] == "notes:write"


def test_a_scheme_that_repeats_a_token_is_not_told() -> None:
    world = World(token={"access_token": "Access-1", "refresh_token": None})
    machine = ready(world, "Bearer")
    world.pages[f"{PRM}/mcp"] = GONE
    assert "access-1" not in str(world.refuse(machine, 401, "Access-1").error)


def test_an_error_repeats_no_assertion_that_another_party_repeats() -> None:
    client = ClientIdentity(client_id="me", signing=SigningKey(algorithm="ES256"))
    endpoints = Endpoints(AuthorizationSettings(), local=False, seed=SEED)
    steps = endpoints.token(
        parse_url(f"{ISSUER}/token", "the token endpoint"),
        client_credentials_grant(None, SERVER),
        client,
        ClientAuth.PRIVATE_KEY,
        audience=ISSUER,
    )
    assert isinstance(next(steps), Sign)
    sent = steps.send(Signed(b"signature"))
    assert isinstance(sent, Fetch)
    (assertion,) = parse_qs((sent.body or b"").decode())["client_assertion"]
    with pytest.raises(StopIteration) as end:
        steps.send(answer({"error": "invalid_client", "error_description": f"<{assertion}>"}, 400))
    assert end.value.value == ErrorResponse(error="invalid_client", status=400)


def test_an_attempt_that_gives_no_new_token_does_not_count_as_one() -> None:
    world = World()
    machine = ready(world, grant=ClientCredentialsGrant(), client=SECRET)
    world.pages[f"{ISSUER}/token"] = answer({"error": "temporarily_unavailable"}, 503)
    world.refuse(machine, operation="a")
    assert "temporarily_unavailable" in str(machine.error)
    del world.pages[f"{ISSUER}/token"]
    world.refuse(machine, operation="a")
    assert machine.error is None


def test_a_refresh_that_has_failed_for_a_time_is_tried_again() -> None:
    world = World()
    machine = ready(world)
    for page in (answer({}, 503), NeedFailed("timeout")):
        world.pages[f"{ISSUER}/token"] = page
        world.refuse(machine, operation="a")
        assert machine.state is AuthState.FAILED
    del world.pages[f"{ISSUER}/token"]
    world.refuse(machine, operation="a")
    assert (machine.error, machine.token) == (None, ("Bearer", "access-2"))
    assert (grants(world)[-1], len(world.opened)) == ("refresh_token", 1)


@pytest.mark.parametrize("error", ["", None, 7, "none"])
def test_an_error_beside_a_token_is_none(error: object) -> None:
    """Some servers send that member with each answer."""
    assert ready(World(token={"error": error})).token == ("Bearer", "access-1")


@pytest.mark.parametrize("most", [0, 1, 20])
def test_a_server_that_wants_a_sign_in_after_each_request_gets_no_more_in_the_end(
    most: int,
) -> None:
    world = World(token={"refresh_token": None})
    machine = world.client(max_sign_ins=most)
    for number in range(40):
        world.wall += 1
        world.refuse(machine, operation=f"tools/call {number % 2}")
        if machine.error is not None:
            break
        machine.accepted(f"tools/call {number % 2}")
    assert f"has signed in {most} times within 300 s" in str(machine.error)
    assert len(world.opened) == most
    if not most:
        return
    world.wall += 300
    world.refuse(machine)
    assert (machine.error, len(world.opened)) == (None, most + 1)


@pytest.mark.parametrize("page", [answer({}, 503), NeedFailed("timeout")])
@pytest.mark.parametrize(
    ("place", "settings", "token", "counts"),
    [
        (f"{ISSUER}/token", {}, {}, False),
        (f"{ISSUER}/token", {"grant": ClientCredentialsGrant(), "client": SECRET}, {}, False),
        (f"{ISSUER}{AS}", {}, {"refresh_token": None}, False),
        (f"{ISSUER}/register", {}, {"refresh_token": None}, False),
        (f"{ISSUER}/token", {}, {"refresh_token": None}, True),  # the person was asked
    ],
)
def test_an_outage_uses_up_no_authorization(
    place: str, settings: Any, token: Any, counts: bool, page: Any
) -> None:
    world = World(token=token)
    machine = ready(world, **settings)
    world.store = {KEY: world.store[KEY]} if KEY in world.store else {}
    world.pages[place] = page
    for _ in range(machine.settings.max_flows):
        world.refuse(machine, operation="a")
        assert machine.state is AuthState.FAILED
    del world.pages[place]
    if counts:
        with pytest.raises(AuthorizationError, match="after 3 authorizations: the last one failed"):
            world.refuse(machine, operation="a")
    else:
        assert world.refuse(machine, operation="a").state is AuthState.READY


NEXT = "https://next.example"


def _another_issuer(world: World) -> None:
    world.resource["authorization_servers"] = [NEXT]
    next_ = {name: _elsewhere(value) for name, value in world.metadata.items()}
    world.metadata = world.pages[f"{NEXT}{AS}"] = next_


def _another_endpoint(world: World) -> None:
    world.metadata["token_endpoint"] = f"{NEXT}/token"


def _elsewhere(value: Any) -> Any:
    return value.replace(ISSUER, NEXT) if isinstance(value, str) else value


@pytest.mark.requirement("basic/authorization/client-registration/bound-to-issuer")
@pytest.mark.parametrize("page", [answer({}, 503), NeedFailed("unknown host"), answer("<html>")])
@pytest.mark.parametrize("move", [_another_issuer, _another_endpoint])
def test_an_issuer_that_has_moved_is_found_though_the_place_of_before_is_gone(
    move: Callable[[World], None], page: Any
) -> None:
    world = World()
    machine = ready(world)
    world.pages[f"{ISSUER}/token"] = page
    world.refuse(machine)
    assert (machine.state, len(world.opened)) == (AuthState.FAILED, 1)  # it may come back
    move(world)
    world.refuse(machine)
    assert (machine.error, machine.token) == (None, ("Bearer", "access-2"))
    assert [each.url for each in world.sent if b"refresh-1" in each.body] == [f"{ISSUER}/token"] * 2
    assert stored(world).token_endpoint == f"{NEXT}/token"


@pytest.mark.parametrize("place", ["token", "metadata"])
def test_a_flow_that_is_cancelled_looks_for_no_other_issuer(place: str) -> None:
    world = World()
    machine = ready(world)
    world.pages[f"{ISSUER}/token"] = NeedFailed("unknown host")
    _another_issuer(world)
    machine.start(Refused(status=401, generation=1), wall=world.wall)
    step_until(world, machine, Fetch)
    if place == "metadata":
        machine.give(NeedFailed("unknown host"), wall=world.wall)
        step_until(world, machine, Fetch)
    machine.cancel("enough", wall=world.wall)
    assert isinstance(machine.need, Unlock)
    assert "enough" in str(machine.error)


def test_nobody_is_asked_again_for_scopes_that_they_have_denied() -> None:
    world = World()
    machine = ready(world)

    def refuse(scopes: str, operation: str) -> str:
        challenge = lacking(scopes)
        before = len(world.opened)
        try:
            world.refuse(machine, 403, challenge, operation)
        except AuthorizationError as error:
            assert len(world.opened) == before
            return str(error)
        assert len(world.opened) == before + 1
        return str(machine.error or "")

    world.reply = deny
    assert refuse("write", "a") == "authorization was refused (access_denied)"
    world.reply = None
    told = "scopes that are needed were lately denied: write"
    assert refuse("write", "a") == refuse("admin write", "b") == told
    assert refuse("admin", "b") == ""
    assert "write" not in world.asked()[-1]["scope"].split()  # what was denied is not asked for
    world.wall += 300
    assert refuse("write", "a") == ""


def test_each_denial_is_remembered_and_not_the_last_alone() -> None:
    world = World()
    machine = ready(world, max_operations=2)
    machine.accepted("")

    def ask(scope: str) -> int:
        """Return how often a person was asked."""
        challenge = lacking(scope)
        before = len(world.opened)
        with suppress(AuthorizationError):
            world.refuse(machine, 403, challenge, "a")
        machine.accepted("a")
        return len(world.opened) - before

    world.reply = deny
    assert [ask(scope) for scope in ("write", "admin", "write", "admin")] == [1, 1, 0, 0]
    assert [ask(scope) for scope in ("third", "admin", "write")] == [1, 0, 1]  # two are kept


def test_a_token_is_renewed_from_where_the_metadata_was_named() -> None:
    place = "https://mcp.example/custom/metadata.json"
    world = World()
    world.pages = {place: world.resource, f"{PRM}/mcp": GONE}
    world.token["refresh_token"] = None
    named = f'Bearer resource_metadata="{place}"'
    machine = ready(world, named, grant=ClientCredentialsGrant(), client=SECRET, issuer=ISSUER)
    for number in (2, 3):
        world.wall += 3550
        assert machine.expiring(world.wall)
        world.renew(machine)
        assert (machine.error, machine.token) == (None, ("Bearer", f"access-{number}"))


def test_operations_are_counted_up_to_a_number() -> None:
    world = World()
    machine = world.client(max_operations=2)
    for operation in ("a", "b"):
        world.refuse(machine, operation=operation)
    before = len(world.sent)
    with pytest.raises(AuthorizationError, match="refused 2 operations within 300 s: c begins no"):
        world.refuse(machine, operation="c")
    with pytest.raises(AuthorizationError, match="the request begins no authorization"):
        world.refuse(machine)
    assert len(world.sent) == before
    world.refuse(machine, operation="a")  # one that is counted already
    machine.accepted("b")
    world.refuse(machine, operation="c")
    world.wall += 299
    world.refuse(machine, operation="c")
    world.wall += 1  # what was refused before is forgotten, with time
    world.refuse(machine, operation="d")
    with pytest.raises(AuthorizationError, match="refused 2 operations"):
        world.refuse(machine, operation="e")
    with pytest.raises(AuthorizationError, match="refused 0 operations"):
        world.refuse(World().client(max_operations=0))


def test_nonces_are_kept_of_the_last_origins() -> None:
    machine = World().client()
    for number in range(17):
        assert machine.take_nonce(f"https://{number}.example/", f"n-{number}")
        machine.take_nonce("https://0.example/", f"n-{number}-0")
    assert machine.nonce("https://0.example/") == "n-16-0"
    assert machine.nonce("https://1.example/") is None
    assert machine.nonce("https://16.example/") == "n-16"


# Scopes


@pytest.mark.parametrize(
    ("options", "challenge", "scope"),
    [
        ({"scopes": frozenset({"mine"})}, "Bearer", "mine prm"),
        ({"scopes": frozenset({"mine"})}, 'Bearer scope="a"', "a mine"),
        ({"ceiling": frozenset({"prm"})}, "Bearer", "prm"),
        ({"ceiling": frozenset({"b", "c"})}, "Bearer", "b c"),
        ({"ceiling": frozenset({"b", "c"}), "scopes": frozenset({"b"})}, "Bearer", "b"),
        ({"ceiling": frozenset({"b", "offline_access"})}, "Bearer", "b"),
        ({"ceiling": frozenset({"a", "b"})}, 'Bearer scope="a"', "a"),
        ({"ceiling": frozenset({"a", "offline_access"})}, 'Bearer scope="a"', "a offline_access"),
        ({"offline": False}, 'Bearer scope="a"', "a"),
        ({"offline": True}, 'Bearer scope="a"', "a offline_access"),
    ],
)
def test_scopes_are_chosen(options: dict[str, Any], challenge: str, scope: str | None) -> None:
    world = World()
    world.resource["scopes_supported"] = ["prm"]
    if "mine" not in options.get("scopes", ()) and challenge != "Bearer":
        world.metadata["scopes_supported"] = ["offline_access"]
    machine = world.refuse(world.client(**options), challenge=challenge)
    assert machine.state is AuthState.READY, machine.error
    assert world.asked()[0].get("scope") == scope


def test_scopes_that_were_asked_for_before_are_asked_for_again() -> None:
    world = World(token={"scope": "a"})
    machine = ready(world, 'Bearer scope="a b"')
    forbid(world, machine, "c")
    assert world.asked()[1]["scope"] == "a b c"


@pytest.mark.parametrize("audience", [None, f"{ISSUER}/token"])
def test_the_audience_of_assertions_is_a_setting(audience: str | None) -> None:
    client = replace(SIGNING, assertion_audience=audience)
    world = World()
    world.metadata["token_endpoint_auth_methods_supported"] = ["private_key_jwt"]
    machine = ready(world, client=client, issuer=ISSUER)
    world.refuse(machine)
    assert grants(world) == ["authorization_code", "refresh_token"]
    asked = [claims_of(form["client_assertion"])["aud"] for form in world.forms()]
    assert asked == [audience or ISSUER] * 2
    other = World()
    grant = replace(enterprise(other)["grant"], client=client)
    other.refuse(other.client(grant=grant, client=SECRET, issuer=ISSUER))
    (form,) = (dict(parse_qsl(each.body.decode())) for each in other.sent if each.url == IDP)
    assert claims_of(form["client_assertion"])["aud"] == (audience or IDP)


@pytest.mark.parametrize("said", ['a admin "x"', ["admin"], {"admin": True}, 7])
def test_scopes_of_a_token_that_cannot_be_read_are_over_a_ceiling(said: Any) -> None:
    world = World(token={"scope": said})
    machine = world.refuse(world.client(ceiling=frozenset({"a"})), challenge=NAMED)
    assert (machine.token, KEY in world.store) == (None, False)
    assert str(machine.error).endswith("its scopes cannot be read")
    machine = ready(world)
    assert machine.notes == ["the scopes of the token cannot be read and are ignored"]


@pytest.mark.parametrize("scopes", [["admin"], ["a", 'admin"'], None])
@pytest.mark.parametrize("said", [None, ""])
def test_a_ceiling_holds_where_scopes_are_not_told(scopes: Any, said: str | None) -> None:
    """An issuer that is asked for no scope by name gives those of its choice."""
    world = World(token={"scope": said})
    world.resource["scopes_supported"] = scopes
    machine = ready(world, "Bearer", ceiling=frozenset({"a"}))
    assert world.asked()[0]["scope"] == "a"
    world.refuse(machine)
    assert (world.forms()[-1]["scope"], stored(world).scopes) == ("a", ("a",))


def test_scopes_that_cannot_be_read_are_none() -> None:
    world = World()
    world.resource["scopes_supported"] = ["a", 'b"']
    ready(world)
    assert "scope" not in world.asked()[0]


def test_granted_scopes_are_kept() -> None:
    world = World(token={"scope": "a c"})
    machine = ready(world, scopes=frozenset({"a"}))
    assert stored(world).scopes == ("a", "c")
    assert machine.notes == ["the token has more scopes than were asked for"]
    world = World(token={"scope": None})
    ready(world, scopes=frozenset({"a"}))
    assert stored(world).scopes == ("a",)
    world = World(token={"scope": "a"})
    assert not ready(world).notes
    assert stored(world).scopes == ("a",)


# Discovery

RESOURCE, METADATA = World().resource, World().metadata
NAMELESS = {name: METADATA[name] for name in METADATA if name != "registration_endpoint"}
PRIVATE, LINK_LOCAL = "https://10.0.0.1/x", "https://169.254.169.254/x"
OF_SERVER = "the metadata of the server cannot be used:"
OF_ISSUER = "the authorization server cannot be used:"
NO_SCOPE = "no scope is allowed that a token could be asked for with"


@pytest.mark.parametrize(
    ("place", "page", "settings", "told", "before"),
    [
        (f"{PRM}/mcp", GONE, {"fallbacks": False}, f"{OF_SERVER} there is none", "discovery"),
        (f"{PRM}/mcp", answer(b"html"), {}, "not sound JSON", "discovery"),
        (f"{PRM}/mcp", {"resource": SERVER}, {}, "names no authorization server", "discovery"),
        (f"{PRM}/mcp", RESOURCE | {"authorization_servers": ["x"]}, {}, "the issuer", "discovery"),
        (
            f"{PRM}/mcp",
            RESOURCE | {"dpop_bound_access_tokens_required": True},
            {},
            "bound to a DPoP key alone",
            "discovery",
        ),
        (
            f"{PRM}/mcp",
            RESOURCE,
            {"client": SECRET, "issuer": "https://third.example"},
            "does not name the issuer",
            "discovery",
        ),
        *(
            (
                f"{PRM}/mcp",
                RESOURCE | {"scopes_supported": ["admin"]},
                {"ceiling": frozenset(ceiling)},
                NO_SCOPE,
                "sign-in",
            )
            for ceiling in ((), ("offline_access",))
        ),
        (f"{ISSUER}{AS}", GONE, {}, f"{OF_ISSUER} it has no metadata", "registration"),
        (f"{ISSUER}{AS}", {"issuer": ISSUER}, {}, "it lacks the token endpoint", "registration"),
        *(
            (f"{ISSUER}{AS}", METADATA | {f"{kind}_endpoint": url}, settings, told, "sign-in")
            for kind in ("authorization", "token", "registration")
            for url, settings, told in (
                (PRIVATE, {}, "the setting `private` allows"),
                (LINK_LOCAL, {"private": True}, "not a public address"),
            )
        ),
        (f"{ISSUER}{AS}", NAMELESS, {}, f"{ISSUER} registers no clients", "sign-in"),
        (
            f"{ISSUER}/register",
            answer({"error": "invalid_redirect_uri", "error_description": "use https"}, 400),
            {},
            "this client was not registered (invalid_redirect_uri): use https",
            "sign-in",
        ),
        (
            f"{ISSUER}/register",
            answer(b"", 404),
            {},
            "this client was not registered (status 404)",
            "sign-in",
        ),
        (f"{ISSUER}/register", NeedFailed("timed out"), {}, f"{ISSUER}: timed out", "sign-in"),
    ],
)
def test_a_flow_that_ends_before_anybody_is_asked(
    place: str, page: Any, settings: dict[str, Any], told: str, before: str
) -> None:
    world = World(pages={place: page})
    stopped(world, told, before=before, **settings)
    assert not [url for url in world.urls() if url in (PRIVATE, LINK_LOCAL)]


def test_the_issuer_of_the_credentials_is_chosen() -> None:
    world = World()
    world.resource["authorization_servers"] = ["https://first.example", ISSUER]
    ready(world, client=SECRET, issuer=ISSUER)
    assert not [url for url in world.urls() if "first.example" in url]
    assert f"{ISSUER}/token" in world.urls()


FIRST = "https://first.example"


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (GONE, "the authorization server cannot be used: it has no metadata"),
        (NeedFailed("nobody is there"), "https://first.example: nobody is there"),
        (answer({}, 500), "its status is 500"),
        ({"issuer": ISSUER}, "it is of another issuer"),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_another_issuer_is_used_where_the_first_cannot_be(
    first: Any, told: str, slash: str
) -> None:
    world = World(pages={f"{FIRST}{AS}": first})
    world.resource["authorization_servers"] = [FIRST, ISSUER + slash]
    machine = ready(world)
    assert told in machine.notes[0]
    world.pages[f"{FIRST}{AS}"] = METADATA | {"issuer": FIRST}  # it is back: no reason to change
    world.sent.clear()
    assert forbid(world, machine, "more").state is AuthState.READY
    assert not [url for url in world.urls() if url.startswith(FIRST)]


@pytest.mark.parametrize(
    "settings", [{"client": SECRET}, {"client": ClientIdentity(client_id="x")}]
)
def test_what_belongs_to_one_issuer_goes_to_no_other(settings: dict[str, Any]) -> None:
    world = World(pages={f"{FIRST}{AS}": GONE})
    world.resource["authorization_servers"] = [FIRST, ISSUER]
    stopped(world, f"{OF_ISSUER} it has no metadata", before="registration", **settings)
    assert not [url for url in world.urls() if url.startswith(ISSUER)]


def test_three_issuers_are_tried() -> None:
    world = World(metadata={})
    world.resource["authorization_servers"] = [f"https://{name}.example" for name in "abcde"]
    stopped(world, f"{OF_ISSUER} it has no metadata", before="registration")
    hosts = {parse_url(url, "").host for url in world.urls()}
    assert hosts - {"mcp.example"} == {"a.example", "b.example", "c.example"}


def test_a_flow_that_is_cancelled_at_one_issuer_asks_no_other() -> None:
    world = World()
    world.resource["authorization_servers"] = [FIRST, ISSUER]
    machine = world.client()
    play(world, machine, 3)
    assert isinstance(machine.need, Fetch)
    assert machine.need.url.startswith(FIRST)
    machine.cancel("nobody waits", wall=world.wall)
    assert isinstance(machine.need, Unlock)


@pytest.mark.parametrize(
    "settings",
    [
        {"client": SECRET},
        {"client": SIGNING},
        {"client": ClientIdentity(client_id="x", certificate=True)},
        {"grant": AssertionGrant()},
        enterprise(World()),
    ],
)
def test_secrets_without_an_issuer_are_noted(settings: dict[str, Any]) -> None:
    assert "name no issuer" in World().client(**settings).notes[0]
    assert not World().client(**settings, issuer=ISSUER).notes
    assert not World().client(client=ClientIdentity(client_id="public")).notes


NONE, ENDS = (404, 405, 410), (204, 500, 503)
REFUSED = (302, 308, 400, 401, 403, 406, 429, 451)
HERE = "https://mcp.example"
CHAINS = {
    "the resource": [f"{PRM}/mcp", PRM],
    "the issuer": [f"{ISSUER}{AS}", f"{ISSUER}{OIDC}"],
    "the issuer with a path": [
        f"{ISSUER}{AS}/tenant1",
        f"{ISSUER}{OIDC}/tenant1",
        f"{ISSUER}/tenant1{OIDC}",
    ],
}


def discovering(chain: str, replies: Sequence[int | bytes]) -> tuple[World, list[str], str]:
    """A world whose well-known places of one kind answer so, those that were asked, the error."""
    world = World()
    if chain == "the issuer with a path":
        world.metadata["issuer"] = f"{ISSUER}/tenant1"
        world.resource["authorization_servers"] = [f"{ISSUER}/tenant1"]
    document = world.resource if chain == "the resource" else world.metadata
    pairs = zip(CHAINS[chain], replies, strict=False)
    world.pages = {
        place: answer(reply) if isinstance(reply, bytes) else answer(document, reply)
        for place, reply in pairs
    }
    machine = world.refuse(world.client())
    asked = [url for url in world.urls() if url in CHAINS[chain]]
    return world, asked, str(machine.error)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("status", [*NONE, *REFUSED])
def test_a_place_without_metadata_leads_to_the_next(chain: str, status: int) -> None:
    for count in range(1, len(CHAINS[chain])):
        world, asked, error = discovering(chain, [status] * count + [200])
        assert (asked, error) == (CHAINS[chain][: count + 1], "None")
        assert world.opened[0].startswith(f"{ISSUER}/authorize?")


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("status", ENDS)
def test_a_place_that_fails_ends_the_discovery(chain: str, status: int) -> None:
    for before in ([], [404], [403]):
        world, asked, error = discovering(chain, [*before, status, 200])
        assert asked == CHAINS[chain][: len(before) + 1]
        assert f"its status is {status}" in error
        assert not world.opened


@pytest.mark.parametrize("other", NONE)
@pytest.mark.parametrize("status", REFUSED)
@pytest.mark.parametrize("chain", CHAINS)
def test_a_refusal_allows_no_weaker_way(chain: str, status: int, other: int) -> None:
    """Default endpoints (2025-03-26) are for servers that say that they have no metadata."""
    for statuses in ([status, other, other], [other, status, other], [status] * 3):
        world, asked, error = discovering(chain, statuses)
        assert asked == CHAINS[chain]
        assert f"its status is {status}" in error
        assert not world.opened
        assert f"{HERE}{AS}" not in world.urls()


@pytest.mark.parametrize("chain", CHAINS)
def test_a_web_page_is_no_document(chain: str) -> None:
    """Sites of one page answer all that they do not know so."""
    places = CHAINS[chain]
    page = b"\n<!doctype html>"
    world, asked, error = discovering(chain, [page, 200])
    assert (asked, error, bool(world.opened)) == (places[:2], "None", True)
    world, asked, error = discovering(chain, [page] * 3)
    assert (asked, bool(world.opened)) == (places, False)
    assert "it is a web page" in error
    assert f"{HERE}{AS}" not in world.urls()


@pytest.mark.parametrize("status", [*NONE, *REFUSED, *ENDS])
def test_default_endpoints_are_for_a_server_without_metadata(status: int) -> None:
    world = World(pages={f"{PRM}/mcp": GONE, f"{HERE}{AS}": answer({}, status)})
    world.metadata["issuer"] = HERE
    machine = world.refuse(world.client())
    assert (machine.state is AuthState.READY) is (status in NONE)
    assert world.urls()[:3] == [f"{PRM}/mcp", PRM, f"{HERE}{AS}"]
    assert [url.partition("?")[0] for url in world.opened] == [f"{HERE}/authorize"] * (
        status in NONE
    )


@pytest.mark.parametrize(
    ("challenge", "wanted"),
    [
        ('Bearer realm="API keys"', "bearer of the realm API keys"),
        ('Basic realm="Notes\u202e"', r"basic of the realm Notes\?"),
        ('ApiKey, Bearer realm="x"', "bearer of the realm x"),
        ("Negotiate", "negotiate"),
        ("", None),
        ("Bearer", None),
        ('Bearer error="invalid_token"', None),
        ("ApiKey, Bearer", None),
    ],
)
def test_a_server_that_wants_another_credential_is_asked_for_no_registration(
    challenge: str, wanted: str | None
) -> None:
    world = World(pages={f"{PRM}/mcp": GONE})
    machine = world.refuse(world.client(), challenge=challenge)
    assert bool(world.registered) is (wanted is None)
    if wanted is not None:
        told = f"^the server asks for {wanted} and names no authorization server: give a key or "
        assert re.match(told, str(machine.error))
    world.refuse(world.client(issuer=HERE), challenge=challenge)  # which the settings vouch for
    assert world.registered


def test_a_server_without_metadata_is_named_without_its_query() -> None:
    """It may hold a key, and the browser of a person shows what is asked for."""
    world = World()
    world.metadata["issuer"] = "https://mcp.example"
    server = f"{SERVER}?key=marked"
    machine = world.refuse(Authorization(server, seed=SEED), challenge="Bearer")
    assert machine.state is AuthState.READY, machine.error
    assert [each["resource"] for each in (*world.asked(), *world.forms())] == [SERVER] * 2
    other = Authorization(server, seed=SEED)
    assert world.load(other).token == machine.token
    assert Authorization(SERVER, seed=SEED).key != other.key


def test_a_registration_that_nothing_has_promised_says_what_may_help() -> None:
    for page in (PRM, f"{HERE}{AS}"):
        world = World(pages={f"{PRM}/mcp": GONE, f"{HERE}/register": GONE})
        if page != PRM:
            world.pages[page] = {**world.metadata, "issuer": HERE}
            world.pages[page]["registration_endpoint"] = f"{HERE}/register"
        error = str(world.refuse(world.client()).error)
        assert error.startswith("this client was not registered (status 404)")
        assert ("give a key or token that you have" in error) is (page == PRM)


@pytest.mark.parametrize("challenge", ["Bearer", f'Bearer resource_metadata="{PRM}"'])
def test_the_place_of_the_origin_may_speak_for_the_whole_origin(challenge: str) -> None:
    """A document there may be about the origin, as RFC 9728 says, or about the server itself."""
    for resource in (HERE, SERVER):
        world = World(pages={f"{PRM}/mcp": GONE})
        world.pages[PRM] = {**world.resource, "resource": resource}
        machine = ready(world, challenge)
        assert {asked["resource"] for asked in [*world.asked(), *world.forms()]} == {resource}
        assert loaded(world).token == machine.token


def test_members_that_are_ignored_are_noted() -> None:
    world = World()
    world.metadata["scopes_supported"] = "a"
    machine = ready(world)
    assert machine.notes == [
        "the metadata of the authorization server: its member scopes_supported is wrong and ignored"
    ]


def test_a_server_on_loopback_may_have_all_on_loopback() -> None:
    here = "http://localhost:3000"
    world = World()
    text = json.dumps(world.metadata).replace(ISSUER, here)
    world.metadata = json.loads(text)
    world.pages = {
        f"{here}/.well-known/oauth-protected-resource/mcp": {
            "resource": f"{here}/mcp",
            "authorization_servers": [here],
        },
        f"{here}{AS}": world.metadata,
    }
    machine = Authorization(f"{here}/mcp", seed=SEED)
    world.refuse(machine)
    assert machine.state is AuthState.READY, machine.error


# Registration


USUAL, BOUND = "http://127.0.0.1/callback", "http://127.0.0.1:41000/callback"


@pytest.mark.parametrize(
    ("redirect", "taken", "places", "registered"),
    [
        (USUAL, False, [BOUND], 1),
        (USUAL, True, [BOUND, USUAL], 2),
        (BOUND, False, [BOUND], 1),
        *(
            (redirect, False, [redirect], 2)
            for redirect in (
                "http://127.0.0.1:5/callback",
                "http://127.0.0.1/other",
                "http://127.0.0.1/callback?x",
                "http://localhost/callback",
                "https://app.example/callback",
            )
        ),
    ],
)
def test_a_registration_is_for_its_redirect_with_the_port(
    redirect: str,
    taken: bool,
    places: list[str],
    registered: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    ready(world)
    world.lose_tokens()
    asked: list[str] = []

    def carry_out(need: Need) -> Outcome:
        if not isinstance(need, Listen):
            return World.carry_out(world, need)
        asked.append(need.redirect_uri)
        if not taken:
            return World.carry_out(world, need)
        other = USUAL.replace("1/", "1:5/")
        return Text(other) if need.redirect_uri == USUAL else NeedFailed("another process has it")

    monkeypatch.setattr(world, "carry_out", carry_out)
    ready(world, grant=CodeGrant(redirect_uri=redirect))
    assert asked == places
    assert len(world.registered) == registered
    clients = [f"client-{number}" for number in range(1, registered + 1)]
    assert list(dict.fromkeys(form["client_id"] for form in world.forms())) == clients


@pytest.mark.requirement("basic/authorization/client-registration/web-type")
def test_a_web_application_is_told_as_one() -> None:
    world = World()
    web = CodeGrant(redirect_uri="https://app.example/cb")
    ready(world, grant=web, client_uri="https://app.example", client_name="App")
    assert world.registered[0] == {
        "client_name": "App",
        "client_uri": "https://app.example",
        "redirect_uris": ["https://app.example/cb"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "web",
    }
    (sent,) = (each for each in world.sent if each.url.endswith("/register"))
    assert sent.headers == {"accept": "application/json", "content-type": "application/json"}
    world.lose_tokens()
    ready(world, grant=web, client_name="App")
    assert len(world.registered) == 1


@pytest.mark.parametrize(
    ("grant", "types"),
    [
        (ClientCredentialsGrant(), ["client_credentials"]),
        (AssertionGrant(), ["urn:ietf:params:oauth:grant-type:jwt-bearer"]),
    ],
)
def test_a_client_without_a_person_is_registered_without_redirect(
    grant: Any, types: list[str]
) -> None:
    world = World()
    ready(world, grant=grant)
    (registered,) = world.registered
    assert (registered["grant_types"], registered["response_types"]) == (types, [])
    assert registered["token_endpoint_auth_method"] == "client_secret_basic"
    assert "redirect_uris" not in registered
    for _ in range(2):  # a person's and a program's do not replace each other
        world.lose_tokens()
        ready(world, grant=grant)
        ready(world, grant=CodeGrant())
    assert len(world.registered) == 2


@pytest.mark.parametrize(
    ("expires", "later", "registered"),
    [(0, 10**6, 1), (1_000_100, 99, 1), (1_000_100, 100, 2)],
)
def test_a_secret_expires(expires: int, later: int, registered: int) -> None:
    world = World(registration={"client_secret_expires_at": expires})
    world.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_basic"]
    ready(world)
    world.lose_tokens()
    world.wall += later
    world.registration["client_secret_expires_at"] = 0
    ready(world)
    assert len(world.registered) == registered


def test_the_document_is_no_client_where_it_is_not_supported() -> None:
    world = World()
    ready(world, metadata_url="https://app.example/client.json")
    assert world.asked()[0]["client_id"] == "client-1"


def test_given_credentials_stay_at_their_issuer() -> None:
    world = World()
    ready(world, client=SECRET)
    ready(world, client=SECRET)
    key = f"registered {SERVER} pre id"
    assert b"pre:secret" not in world.store[key][0]
    world.store[key] = (b"{}", 1)
    machine = world.client(client=SECRET)
    world.lose_tokens()
    world.refuse(machine)
    assert "another authorization server" in str(machine.error)
    assert "name the issuer in the settings" in str(machine.error)


@pytest.mark.parametrize(
    ("supported", "secret"), [(True, None), (False, None), (True, "it has a secret")]
)
def test_the_url_of_a_document_is_a_client_of_each_issuer_that_takes_those(
    supported: bool, secret: str | None
) -> None:
    world, other = World(), "https://other.example"
    client = ClientIdentity(client_id="https://app.example/client.json", client_secret=secret)
    world.metadata["client_id_metadata_document_supported"] = supported
    ready(world, client=client)
    world.lose_tokens()
    world.resource["authorization_servers"] = [other]
    world.metadata |= {"issuer": other, "token_endpoint": f"{other}/token"}
    world.pages[f"{other}{AS}"] = world.metadata
    machine = world.refuse(world.client(client=client), challenge=NAMED)
    portable = supported and secret is None
    assert (machine.state is AuthState.READY) is portable, machine.error
    assert (len(world.forms()), len(world.registered)) == (1 + portable, 0)


def test_given_credentials_stay_where_another_process_has_just_used_them() -> None:
    world, machine = World(), World().client(client=SECRET)
    machine.start(Refused(status=401, lines=(NAMED,)), wall=world.wall)
    step_until(world, machine, Save)
    other = ClientRecord(
        issuer="https://other.example",
        token_endpoint="https://other.example/token",
        client=ClientIdentity(client_id=SECRET.client_id),
    )
    assert isinstance(machine.need, Save)
    world.store[machine.need.key] = (written(other), 1)
    world.run(machine)
    assert "another authorization server" in str(machine.error)
    assert (world.opened, world.forms()) == ([], [])


@pytest.mark.parametrize(
    ("client", "what"), [(None, "the registration"), (SECRET, "the issuer of the credentials")]
)
def test_what_cannot_be_stored_of_a_client_is_noted(
    client: ClientIdentity | None, what: str
) -> None:
    world = World()
    machine = world.client(client=client)
    machine.start(Refused(status=401, lines=(NAMED,)), wall=world.wall)
    step_until(world, machine, Save)
    machine.give(NeedFailed("no place"), wall=world.wall)
    assert world.run(machine).state is AuthState.READY
    assert machine.notes[-1] == f"{what} is not stored: no place"


def test_a_program_is_not_registered_by_the_name_of_another() -> None:
    world = World()
    for name in ("one", "one", "two"):
        ready(world, client_name=name)
        world.lose_tokens()
    assert [made["client_name"] for made in world.registered] == ["one", "two"]


def test_an_issuer_that_is_named_may_move_its_token_endpoint() -> None:
    world = World()
    ready(world, client=SECRET)
    world.lose_tokens()
    world.metadata["token_endpoint"] = f"{ISSUER}/v2/token"
    ready(world, client=SECRET, issuer=ISSUER)
    assert world.urls()[-1] == f"{ISSUER}/v2/token"


@pytest.mark.parametrize(
    "client", [None, ClientIdentity(client_id="mine")], ids=["registered", "given"]
)
def test_a_registration_that_is_not_known_any_more_is_forgotten(
    client: ClientIdentity | None,
) -> None:
    world = World(pages={f"{ISSUER}/token": answer({"error": "invalid_client"}, 401)})
    machine = world.refuse(world.client(client=client))
    assert "gave no token (invalid_client)" in str(machine.error)
    assert client_key(ISSUER, "authorization_code") not in world.store
    del world.pages[f"{ISSUER}/token"]
    world.refuse(machine)
    assert machine.state is AuthState.READY
    assert len(world.registered) == (2 if client is None else 0)


@pytest.mark.parametrize("refresh", [True, False])
def test_a_registration_that_another_process_has_made_meanwhile_is_kept(refresh: bool) -> None:
    world = World()
    machine = ready(world) if refresh else world.client()
    key = client_key(ISSUER, "authorization_code")
    newer = []

    def refuse(world: World, need: Fetch, form: dict[str, str]) -> Fetched:
        del world.pages[f"{ISSUER}/token"]
        data, version = world.store[key]
        known = msgspec.json.decode(data, type=ClientRecord)
        client = replace(known.client, client_id="newer")
        newer.append((written(replace(known, client=client)), version + 1))
        world.store[key] = newer[0]
        return answer({"error": "invalid_client"}, 401)

    world.pages[f"{ISSUER}/token"] = refuse
    world.refuse(machine)
    assert world.store[key] == newer[0]
    assert len(world.registered) == 1


# Tokens


@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer"])
def test_a_type_has_any_case(kind: str) -> None:
    assert ready(World(token={"token_type": kind})).token == ("Bearer", "access-1")


def test_nonces_are_kept_by_origin() -> None:
    world = World(token={"token_type": "DPoP"})
    machine = ready(world, dpop=DPOP)
    assert machine.take_nonce(SERVER, "n1")
    assert not machine.take_nonce(f"{SERVER}?x", "n1")
    assert not machine.take_nonce(SERVER, "a b")
    assert not machine.take_nonce(SERVER, None)
    assert machine.take_nonce("https://other.example", "n2")
    proof = machine.proof("GET", SERVER, wall=0.0)
    assert proof is not None
    assert proof.input.claims["nonce"] == "n1"


def test_a_nonce_of_a_good_response_is_kept() -> None:
    world = World(token={"token_type": "DPoP"})

    def token(world: World, need: Fetch, form: dict[str, str]) -> Fetched:
        given = world.give_token(form)
        headers = (("dpop-nonce", "next"), ("x", "y"))
        return Fetched(status=200, headers=headers, body=given.body)

    world.pages[f"{ISSUER}/token"] = token
    machine = ready(world, dpop=DPOP)
    proof = machine.proof("POST", f"{ISSUER}/token", wall=0.0)
    assert proof is not None
    assert proof.input.claims["nonce"] == "next"


def test_a_header_stands_once() -> None:
    response = Fetched(status=200, headers=(("a", "1"), ("b", "2"), ("b", "3")))
    assert [response.header(name) for name in "abc"] == ["1", None, None]


def test_an_identity_provider_refuses() -> None:
    world = World()
    settings = enterprise(world)
    world.pages["https://idp.example/token"] = answer({"error": "access_denied"}, 400)
    machine = world.refuse(world.client(**settings))
    assert str(machine.error) == "the identity provider gave no assertion (access_denied)"


@pytest.mark.parametrize("grant", [AssertionGrant(), None])
def test_without_an_assertion_nothing_is_sent(grant: Any) -> None:
    world = World(assertion=NeedFailed("there is no workload identity"))
    settings = enterprise(world) if grant is None else {"grant": grant, "client": SECRET}
    machine = world.refuse(world.client(**settings))
    assert str(machine.error) == "there is no workload identity"
    assert not world.forms()


def test_a_client_with_a_certificate_uses_the_endpoint_for_it() -> None:
    world = World()
    world.metadata["token_endpoint_auth_methods_supported"] = ["tls_client_auth"]
    client = ClientIdentity(client_id="tls", certificate=True)
    ready(world, client=client)
    assert world.urls()[-1] == f"{ISSUER}/token"
    world = World()
    world.metadata["mtls_endpoint_aliases"] = {"token_endpoint": "https://tls.id.example/token"}
    world.metadata["token_endpoint_auth_methods_supported"] = ["tls_client_auth"]
    ready(world, client=client)
    assert world.urls()[-1] == "https://tls.id.example/token"
    (form,) = world.forms()
    assert form["client_id"] == "tls"


def test_headers_are_sent_as_they_are() -> None:
    world = World()
    world.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_basic"]
    ready(world, client=SECRET)
    headers = world.sent[-1].headers
    assert {type(value) for value in headers.values()} == {str}
    assert f"{headers['authorization']}".startswith("Basic ")


# Responses of a person


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (NeedFailed("nobody answered in time"), "nobody answered in time"),
        ("", "its state"),
        ("code=a&state={state}&error=x", "authorization was refused (x)"),
        ("state={state}&error=access_denied&error_description=no%0d", "(access_denied): no?"),
        ("state={state}", "it has no code"),
        ("state={state}&code=", "it has no code"),
        ("state={state}&code=a&code=b", "its parameter code stands twice"),
        ("state={state}&state={state}&code=a", "its parameter state stands twice"),
        ("x=1&" * 40 + "state={state}&code=a", "too many parameters"),
    ],
)
def test_a_response_without_a_code_ends_the_flow(said: Any, told: str) -> None:
    def reply(world: World, need: OpenUrl, asked: dict[str, str]) -> Any:
        return said if isinstance(said, NeedFailed) else said.format(state=asked["state"])

    world = World(reply=reply)
    machine = world.refuse(world.client())
    assert machine.state is AuthState.FAILED
    assert told in str(machine.error)
    assert not world.forms()


# Every step


KINDS: dict[str, Callable[[], tuple[World, Authorization]]] = {}


def kind(make: Callable[[], tuple[World, Authorization]]) -> None:
    KINDS[make.__name__.strip("_")] = make


@kind
def _code() -> tuple[World, Authorization]:
    world = World(token={"token_type": "DPoP"})
    return world, world.client(dpop=DPOP)


@kind
def _refresh() -> tuple[World, Authorization]:
    world = World()
    machine = ready(world)
    machine.generation = 0
    machine.accepted("")
    return world, machine


@kind
def _credentials() -> tuple[World, Authorization]:
    world = World()
    world.metadata["token_endpoint_auth_methods_supported"] = ["private_key_jwt"]
    return world, world.client(grant=ClientCredentialsGrant(), client=SIGNING)


@kind
def _enterprise() -> tuple[World, Authorization]:
    world = World()
    return world, world.client(**enterprise(world))


def needs_of(name: str) -> list[str]:
    """Kinds of the needs of a flow, in order."""
    world, machine = KINDS[name]()
    play(world, machine, 0)
    found = []
    while machine.need is not None:
        found.append(type(machine.need).__name__)
        machine.give(world.carry_out(machine.need), wall=world.wall)
    assert machine.state is AuthState.READY, machine.error
    return found


STEPS = [(name, at, need) for name in KINDS for at, need in enumerate(needs_of(name))]


def test_the_flows_have_all_needs() -> None:
    assert {need for _, _, need in STEPS} == {
        each.__name__ for each in (Fetch, OpenUrl, Listen, Load, Save, Unlock, Sign, Obtain)
    } | {"Lock"}


@pytest.mark.parametrize(("name", "at", "need"), STEPS)
def test_a_flow_is_cancelled_at_each_step(name: str, at: int, need: str) -> None:
    world, machine = KINDS[name]()
    token = machine.token
    play(world, machine, at)
    received = machine.state is AuthState.SAVING
    machine.cancel("the program stops", wall=world.wall)
    if need == "Unlock":
        assert machine.state is AuthState.READY
    else:
        assert machine.state is AuthState.FAILED
        assert str(machine.error) == "the authorization ended: the program stops"
        assert (machine.token != token) is received  # it is not lost
    assert machine.need is None or isinstance(machine.need, Unlock)
    assert bool(world.locked) is isinstance(machine.need, Unlock)
    world.run(machine)
    machine.cancel("again", wall=world.wall)
    assert machine.need is None
    world.refuse(machine, operation="again")
    assert machine.state is AuthState.READY


@pytest.mark.parametrize(("name", "at", "need"), STEPS)
def test_a_flow_fails_at_each_step(name: str, at: int, need: str) -> None:
    world, machine = KINDS[name]()
    play(world, machine, at)
    machine.give(NeedFailed("it\x1b broke"), wall=world.wall)
    looks = (name, need) == ("refresh", "Fetch")  # whether the issuer is where it was
    goes_on = looks or need in ("Save", "Unlock")
    assert goes_on or machine.need is None or isinstance(machine.need, Unlock)
    if need != "Unlock":
        world.run(machine)
    if need in ("Save", "Unlock"):
        assert machine.state is AuthState.READY
    else:
        assert machine.state is AuthState.FAILED
        assert str(machine.error).endswith("it? broke")


WRONG: list[Outcome] = [Fetched(status=200), Stored(), Signed(b"x"), Text("x"), Done()]


@pytest.mark.parametrize(("name", "at", "need"), STEPS)
def test_an_outcome_of_another_need_is_a_mistake(name: str, at: int, need: str) -> None:
    if need in ("Save", "Unlock"):
        return
    world, machine = KINDS[name]()
    play(world, machine, at)
    assert machine.need is not None
    right = type(world.carry_out(machine.need))
    wrong = next(each for each in WRONG if type(each) is not right)
    with pytest.raises(LocalProtocolError, match="is no outcome of the need"):
        machine.give(wrong, wall=world.wall)
    after: Any = machine
    assert (after.need, after.state) == (None, AuthState.FAILED)
    assert str(machine.error) == "the authorization failed: LocalProtocolError"
    machine.cancel("it was cancelled", wall=world.wall)  # it is over
    assert machine.start(Refused(status=401, generation=machine.generation), wall=world.wall)


def test_an_outcome_is_what_was_asked_for() -> None:
    assert expect(Text("x"), Text).text == "x"
    with pytest.raises(AuthorizationError, match=r"^place: gone$"):
        expect(NeedFailed("gone"), Text, "place: ")


# Anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(ISSUER),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)
MEMBERS = st.sampled_from(
    [
        "resource", "authorization_servers", "scopes_supported", "issuer", "token_endpoint",
        "authorization_endpoint", "registration_endpoint", "code_challenge_methods_supported",
        "token_endpoint_auth_methods_supported", "client_id", "client_secret", "redirect_uris",
        "client_secret_expires_at", "token_endpoint_auth_method", "access_token", "token_type",
        "expires_in", "refresh_token", "scope", "error", "error_description",
    ]
)  # fmt: skip
CHANGES = st.dictionaries(MEMBERS, JSON, max_size=2)
BODY = st.one_of(st.binary(max_size=20), CHANGES)
DOCUMENT_URLS = [f"{PRM}/mcp", f"{ISSUER}{AS}", f"{ISSUER}/register", f"{ISSUER}/token"]


@given(
    st.sampled_from(DOCUMENT_URLS),
    BODY,
    st.sampled_from([200, 201, 400, 401, 404, 500]),
    st.text(max_size=40),
    st.text(max_size=40),
)
def test_whatever_others_say_the_flow_ends(
    place: str, body: Any, status: int, challenge: str, query: str
) -> None:
    world = World()

    def changed(world: World, need: Fetch, form: dict[str, str]) -> Fetched | NeedFailed:
        if isinstance(body, bytes):
            return answer(body, status)
        del world.pages[place]
        usual = world.fetch(need)
        world.pages[place] = changed
        assert isinstance(usual, Fetched)
        return answer({**json.loads(usual.body), **body}, usual.status)

    world.pages[place] = changed
    world.reply = lambda world, need, asked: f"{world.consent(asked)}&{query}"
    machine = world.client()
    for _ in range(2):
        world.refuse(machine, challenge=f'{NAMED}, scope="{challenge}"')
        assert machine.state in (AuthState.READY, AuthState.FAILED)
        assert (machine.error is None) is (machine.state is AuthState.READY)
        world.wall += 4000


ACTIONS = ("401", "403 a", "403 b", "expire", "accept", "cancel", "deny", "other", "lose", "break")


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 12)), max_size=12))
# A refreshed token that is not stored
@example([("401", 0), ("accept", 0), ("break", 3), ("expire", 9)])
def test_whatever_happens_the_machine_stays_sound(actions: list[tuple[str, int]]) -> None:
    world = World()
    machine, other = world.client(), world.client()
    unsaved = False
    for place, (action, number) in enumerate(actions):
        operation = str(place // 2)  # one that is refused again and again is a test of its own
        generation = machine.generation
        if action == "accept":
            machine.accepted(operation)
            continue
        if action == "lose":
            world.store.pop(KEY, None)
            continue
        if action == "expire":
            world.wall += 400 * number
            if not machine.expiring(world.wall):
                continue
            machine.start(None, wall=world.wall)
        elif action == "other":
            if not unsaved:  # else it uses what the store has, which was used
                world.refuse(other, operation=operation)
            continue
        else:
            more = action.startswith("403")
            lines = (lacking(action[4:]),) if more else ()
            refused = Refused(
                status=403 if more else 401,
                lines=lines,
                generation=generation,
                operation=operation,
            )
            try:
                machine.start(refused, wall=world.wall)
            except AuthorizationError:  # the token has the scope already
                assert more
                continue
        world.reply = (lambda world, need, asked: NeedFailed("no")) if action == "deny" else None
        while machine.need is not None:
            if (
                action in ("cancel", "break")
                and number == 0
                and not isinstance(machine.need, Unlock)
            ):
                if action == "cancel":
                    machine.cancel("enough", wall=world.wall)
                else:
                    machine.give(NeedFailed("broken"), wall=world.wall)
            else:
                machine.give(world.carry_out(machine.need), wall=world.wall)
            number -= 1
        assert not world.locked
        assert machine.state in (AuthState.READY, AuthState.FAILED)
        assert (machine.state is AuthState.FAILED) is (machine.error is not None)
        assert machine.generation in (generation, generation + 1)
        assert machine.state is AuthState.FAILED or machine.generation == generation + 1
        assert machine.state is AuthState.FAILED or machine.token is not None
        unsaved |= action in ("cancel", "break")
        assert world.reused == 0


def refused_for(
    nonce: str | None, generation: int, error: str, before: Remedy | None = None
) -> Refused:
    line = f'DPoP error="{error}"'
    return Refused(status=401, lines=(line,), generation=generation, nonce=nonce, remedy=before)


@pytest.mark.parametrize(
    ("nonce", "older", "error", "before", "remedy"),
    [
        ("n1", 0, "use_dpop_nonce", None, Remedy.NEW_NONCE),
        (None, 0, "use_dpop_nonce", None, Remedy.NEW_NONCE),
        ("n2", 0, "use_dpop_nonce", None, Remedy.AUTHORIZE),
        ("n1", 0, "use_dpop_nonce", Remedy.NEW_NONCE, Remedy.AUTHORIZE),
        ("n1", 0, "invalid_token", None, Remedy.AUTHORIZE),
        ("n1", 1, "use_dpop_nonce", Remedy.NEW_NONCE, Remedy.SEND_AGAIN),
        ("n2", 1, "invalid_token", None, Remedy.SEND_AGAIN),
    ],
)
def test_what_a_refused_request_needs(
    nonce: str | None, older: int, error: str, before: Remedy | None, remedy: Remedy
) -> None:
    machine = ready(World(token={"token_type": "DPoP"}), dpop=DPOP)
    machine.take_nonce(SERVER, "n2")
    refused = refused_for(nonce, machine.generation - older, error, before)
    assert machine.remedy(refused) is remedy
    if remedy is not Remedy.AUTHORIZE:
        assert not machine.start(refused, wall=0.0)
    elif error == "use_dpop_nonce":
        with pytest.raises(AuthorizationError, match="none of the DPoP nonces"):
            machine.start(refused, wall=0.0)
    else:
        assert machine.start(refused, wall=0.0)


@pytest.mark.parametrize(
    ("scope", "before", "remedy"),
    [
        ("b", None, Remedy.SEND_AGAIN),  # the server may know that `a` is more than `b`
        ("b", Remedy.NEW_NONCE, Remedy.SEND_AGAIN),
        ("b", Remedy.SEND_AGAIN, Remedy.AUTHORIZE),
        ("b", Remedy.AUTHORIZE, Remedy.AUTHORIZE),
        ("a", Remedy.SEND_AGAIN, Remedy.SEND_AGAIN),
    ],
)
def test_a_token_for_another_operation_is_tried_once(
    scope: str, before: Remedy | None, remedy: Remedy
) -> None:
    machine = ready(World(), scopes=frozenset({"a"}))
    lines = (lacking(scope),)
    refused = Refused(status=403, lines=lines, generation=0, operation="x", remedy=before)
    assert machine.remedy(refused) is remedy
    assert machine.start(refused, wall=0.0) is (remedy is Remedy.AUTHORIZE)
