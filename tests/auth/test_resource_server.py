"""The judgement of requests: credentials, grants, refusals with their challenges, metadata."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.auth.challenges import find_challenge, parse_challenges
from mcpcore.auth.introspection import token_key
from mcpcore.auth.proofs import Nonces, ReplayWindow, Seen, thumbprint, use_digest
from mcpcore.auth.resource_server import (
    Credential,
    Denied,
    Dpop,
    Issuer,
    NeedIntrospection,
    NeedKeys,
    NeedUse,
    ResourceGuard,
    ResourceRules,
    principal_name,
)
from mcpcore.auth.scopes import Requirement
from mcpcore.auth.tokens import Grant, TokenFault
from mcpcore.errors import DocumentRefused, UrlRefused
from tests.auth.desk import ISSUER, RESOURCE, WALL, Desk, claims, proof, refusal
from tests.auth.signing import Signer, signer, verify

BOUND = {"cnf": {"jkt": thumbprint(signer().jwk)}}


def params(denied: Grant | Denied, scheme: str = "bearer") -> dict[str, str]:
    """Parameters of the challenge of a refusal."""
    assert isinstance(denied, Denied)
    assert denied.challenge is not None
    challenge = find_challenge(parse_challenges([denied.challenge]), scheme)
    assert challenge is not None
    return dict(challenge.params)


def test_a_good_token_is_granted_and_not_verified_again() -> None:
    desk = Desk(required=frozenset({"read"}))
    token = signer().jwt(claims())
    grants = [desk.bearer(token) for _ in range(3)]
    assert isinstance(grants[0], Grant)
    assert (grants[0].subject, grants[0].client_id) == ("anna", "me")
    assert grants[0] == grants[2]
    assert (desk.fetches, desk.verified) == (1, 1)
    assert desk.bearer(token, now=60.0) == grants[0]
    assert (desk.fetches, desk.verified) == (1, 2)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256", "EdDSA", "Ed25519"])
@pytest.mark.parametrize("kid", ["k1", None])
def test_each_kind_of_key_is_used(algorithm: str, kid: str | None) -> None:
    key = signer(algorithm, kid)
    desk = Desk(keys={ISSUER: [signer("EdDSA", "other").public, key.public]})
    assert isinstance(desk.bearer(key.jwt(claims())), Grant)


def test_any_key_without_a_name_may_have_signed_and_the_others_count_for_nothing() -> None:
    last = signer("EdDSA", None)
    others = [signer("EdDSA", f"k{number}").public for number in range(8)]
    nameless = [{name: value for name, value in each.items() if name != "kid"} for each in others]
    desk = Desk(keys={ISSUER: [*nameless, last.public]}, wrong_signatures=3)
    for number in range(10):
        assert isinstance(desk.bearer(last.jwt(claims(jti=str(number)))), Grant)


@pytest.mark.parametrize(
    ("kind", "granted"),
    [("at+jwt", True), ("application/AT+JWT", True), ("JWT", False), (None, False)],
)
def test_a_type_says_more_than_the_claims(kind: str | None, granted: bool) -> None:
    """A claim of ID tokens does not make one of what says that it is an access token."""
    found = Desk().bearer(signer().jwt(claims(nonce="n"), typ=kind))
    assert isinstance(found, Grant) is granted


@pytest.mark.requirement(
    "basic/authorization/index/error-statuses",
    "basic/authorization/unauthorized-401",
)
@pytest.mark.parametrize(
    ("lines", "status", "reason"),
    [
        ([], 401, "there is no token"),
        (["Basic YTpi"], 401, "there is no token"),
        (["Bearer"], 401, "malformed"),
        (["Bearer "], 401, "malformed"),
        (["Bearer a b"], 401, "malformed"),
        (["Bearer é"], 401, "malformed"),
        (["Bearer a,b"], 401, "malformed"),
        (["Bearer " + "a" * 8193], 401, "malformed"),
        (["Bearer\ta"], 401, "there is no token"),
        (["DPoP a.b.c"], 401, "bound to a key"),
        (["Bearer a", "Bearer b"], 400, "more than one"),
        (["Bearer a", "Basic b"], 400, "more than one"),
        (["Basic a", "Bearer b"], 401, "there is no token"),
    ],
)
def test_a_request_has_one_credential(lines: list[str], status: int, reason: str) -> None:
    denied = refusal(Desk().ask(*lines))
    assert (denied.status, reason in denied.reason) == (status, True)
    assert denied.challenge is not None


@pytest.mark.parametrize("line", ["bearer {}", "BEARER   {}", " Bearer {} "])
def test_schemes_have_any_case(line: str) -> None:
    assert isinstance(Desk().ask(line.format(signer().jwt(claims()))), Grant)


@pytest.mark.requirement(
    "basic/authorization/challenge-header",
    "basic/authorization/authorization-server-discovery/location-mechanism",
    "basic/authorization/index/scope-in-challenge",
)
def test_without_a_token_the_challenge_names_no_error() -> None:
    desk = Desk(required=frozenset({"read", "list"}))
    assert params(desk.ask()) == {
        "scope": "list read",
        "resource_metadata": "https://mcp.example/.well-known/oauth-protected-resource/mcp",
    }
    assert params(desk.bearer("a.b.c"))["error"] == "invalid_token"


@pytest.mark.requirement(
    "basic/authorization/index/insufficient-scope",
    "basic/authorization/index/consistent-scope-sets",
    "basic/authorization/index/scope-consistency",
)
def test_missing_scopes_are_told_at_once() -> None:
    desk = Desk(required=frozenset({"read", "list"}), scope_tree={"all": ["read", "list"]})
    denied = refusal(desk.bearer(signer().jwt(claims())))
    assert denied.status == 403
    told = params(denied)
    assert (told["error"], told["scope"]) == ("insufficient_scope", "list read")
    assert isinstance(desk.bearer(signer().jwt(claims(scope="all"))), Grant)


def test_a_missing_role_is_told() -> None:
    desk = Desk(required=frozenset({"read"}))
    missing = Requirement(frozenset({"a"}), frozenset({"admin"})).missing({"a"}, ())
    assert missing is not None
    denied = desk.guard.insufficient(missing)
    assert (denied.status, denied.reason) == (403, "a role is missing")
    assert params(denied) == {  # no scope would help
        "error_description": "a role is missing",
        "resource_metadata": "https://mcp.example/.well-known/oauth-protected-resource/mcp",
    }


# Metadata


@pytest.mark.requirement(
    "basic/authorization/authorization-server-discovery/metadata-served",
)
def test_metadata_is_made_of_the_settings() -> None:
    desk = Desk(
        Issuer(issuer=ISSUER),
        Issuer(issuer="https://two.example"),
        resource="HTTPS://MCP.example:443/mcp",
        required=frozenset({"b", "a"}),
        name="Notes",
        documentation="https://mcp.example/docs",
    )
    assert desk.guard.metadata_path == "/.well-known/oauth-protected-resource/mcp"
    assert json.loads(desk.guard.metadata()) == {
        "resource": RESOURCE,
        "authorization_servers": [ISSUER, "https://two.example"],
        "scopes_supported": ["a", "b"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Notes",
        "resource_documentation": "https://mcp.example/docs",
    }


@pytest.mark.parametrize(
    ("rules", "members"),
    [
        ({}, {}),
        ({"scopes_supported": ("x",), "required": frozenset({"y"})}, {"scopes_supported": ["x"]}),
        (
            {"dpop": Dpop.ALLOWED},
            {"dpop_signing_alg_values_supported": ["ES256", "Ed25519", "EdDSA"]},
        ),
        (
            {"dpop": Dpop.REQUIRED},
            {
                "dpop_signing_alg_values_supported": ["ES256", "Ed25519", "EdDSA"],
                "dpop_bound_access_tokens_required": True,
            },
        ),
        ({"certificate_bound": True}, {"tls_client_certificate_bound_access_tokens": True}),
    ],
)
def test_metadata_says_what_is_on(rules: dict[str, Any], members: dict[str, Any]) -> None:
    assert json.loads(Desk(**rules).guard.metadata()) == {
        "resource": RESOURCE,
        "authorization_servers": [ISSUER],
        "bearer_methods_supported": ["header"],
        **members,
    }


def test_a_resource_at_the_root_has_its_metadata_there() -> None:
    guard = Desk(resource="https://mcp.example/").guard
    assert guard.metadata_url == "https://mcp.example/.well-known/oauth-protected-resource"


# Settings


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Issuer(issuer=ISSUER, algorithms=frozenset()), ValueError),
        (lambda: Issuer(issuer=ISSUER, algorithms=frozenset({"HS256"})), ValueError),
        (lambda: Issuer(issuer=ISSUER, types=frozenset()), ValueError),
        (lambda: Issuer(issuer=ISSUER, types=frozenset({"at+jwt", "dpop+jwt"})), ValueError),
        (lambda: Desk(issuers=()), ValueError),
        (lambda: Desk(dpop="required"), ValueError),  # which would let bearer tokens in
        (lambda: Desk(max_tokens=0), ValueError),  # which would forget what is revoked at once
        (lambda: Desk(leeway=math.nan), ValueError),  # with which no token would expire
        (lambda: Desk(leeway=-1.0), ValueError),
        (lambda: Desk(leeway=60_000.0), ValueError),  # milliseconds
        (lambda: Desk(required=frozenset({"a b"})), ValueError),
        (lambda: Desk(scope_tree={"a": ["b c"]}), ValueError),
    ],
)
def test_settings_that_cannot_hold_are_refused(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


@pytest.mark.parametrize(
    ("setting", "url", "reason"),
    [
        ("resource", "mcp", "not a plain http or https URL"),
        ("resource", "http://mcp.example/mcp", "not an https URL"),
        ("resource", "https://mcp.example/mcp#top", "not a plain"),
        ("resource", "https://169.254.169.254/mcp", "not a public address$"),
        ("resource", "https://mcp.example/mcp?x=1", "has a query"),
        ("resource", "https://mcp.example/mcp?", "has a query"),
        ("resource", "https://mcp.example/a/../mcp", "has dot segments"),
        ("resource", "https://mcp.example/a/%2E./mcp", "has dot segments"),
        ("resource", "https://mcp.example/mcp/.", "has dot segments"),
        ("issuer", "id.example", "not a plain"),
        ("issuer", "http://id.example", "not an https URL"),
        ("issuer", "https://id.example?realm=a", "has a query"),
        ("issuer", "https://id.example#a", "not a plain"),
        ("issuer", "http://localhost:8080", "its host is this machine"),
        ("issuer", "https://10.0.0.1", "not a public address; the setting `private`"),
        ("jwks_url", "ftp://id.example/keys", "not a plain"),
        ("jwks_url", "http://id.example/keys", "not an https URL"),
        ("introspection_url", "https://192.168.0.1/i", "not a public address; the setting"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_at_once(setting: str, url: str, reason: str) -> None:
    urls = {"resource": RESOURCE, "issuer": ISSUER} | {setting: url}
    resource = urls.pop("resource")
    with pytest.raises(UrlRefused, match=f"{setting}`? cannot be used: .*{reason}"):
        Desk(Issuer(**urls), resource=resource)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("resource", "issuer"),
    [
        ("http://localhost:8000/mcp", Issuer(issuer="http://127.0.0.1:8080/realms/a")),
        ("https://10.0.0.2/mcp", Issuer(issuer="https://10.0.0.1", private=True)),
        (RESOURCE, Issuer(issuer=ISSUER, jwks_url="https://keys.example/a?b=c")),
    ],
)
def test_a_url_on_loopback_or_in_a_private_network_has_its_place(
    resource: str, issuer: Issuer
) -> None:
    assert Desk(issuer, resource=resource).guard.url.text == resource


# DPoP and certificates


def test_a_refused_proof_is_told_by_its_scheme() -> None:
    desk = Desk(dpop=Dpop.ALLOWED)
    token = signer().jwt(claims(**BOUND))
    denied = desk.ask(f"DPoP {token}")
    assert params(denied, "dpop")["error"] == "invalid_dpop_proof"
    assert params(denied, "dpop")["algs"] == "ES256 Ed25519 EdDSA"
    assert "error" not in params(denied, "bearer")
    assert params(desk.bearer(token), "bearer")["error"] == "invalid_token"


def test_where_proofs_are_required_there_is_no_bearer() -> None:
    desk = Desk(dpop=Dpop.REQUIRED)
    denied = refusal(desk.bearer(signer().jwt(claims())))
    assert denied.challenge is not None
    assert denied.challenge.startswith("DPoP ")
    assert "Bearer" not in denied.challenge


def test_a_nonce_is_asked_for_and_taken() -> None:
    nonces = Nonces(bytes(32))
    desk = Desk(dpop=Dpop.REQUIRED, nonces=nonces)
    token = signer().jwt(claims(**BOUND))
    denied = refusal(desk.ask(f"DPoP {token}", proof=proof(token)))
    assert params(denied, "dpop")["error"] == "use_dpop_nonce"
    ((name, nonce),) = denied.headers
    assert (name, nonce) == ("DPoP-Nonce", nonces.current(WALL))
    assert isinstance(desk.ask(f"DPoP {token}", proof=proof(token, nonce=nonce)), Grant)
    assert desk.guard.nonce_line(WALL) == (("DPoP-Nonce", nonce),)
    assert Desk().guard.nonce_line(WALL) == ()


@pytest.mark.parametrize("kid", ["k2", "k1", None])
def test_an_outage_of_the_issuer_is_not_the_clients_fault(kid: str | None) -> None:
    desk, new = Desk(), Signer("ES256", kid)
    assert isinstance(desk.bearer(signer().jwt(claims())), Grant)
    desk.keys[ISSUER], token = b"", new.jwt(claims())
    denied = refusal(desk.bearer(token, now=30.0))
    assert (denied.status, denied.headers) == (503, (("Retry-After", "5"),))
    assert (denied.challenge, desk.fetches) == (None, 2)
    desk.keys[ISSUER] = [new.public]
    assert isinstance(desk.bearer(token, now=35.0), Grant)
    unknown = refusal(desk.bearer(Signer("ES256", "k3").jwt(claims()), now=36.0))
    assert unknown.status == 401


def test_a_principal_has_one_share_of_the_window_for_all_of_its_keys() -> None:
    desk = Desk(dpop=Dpop.REQUIRED, replays=ReplayWindow(limit_of_one=1))
    found = []
    for name, key in (("ann", signer()), ("ann", signer("EdDSA")), ("bob", signer("EdDSA"))):
        bound = {"cnf": {"jkt": thumbprint(key.jwk)}}
        token = signer().jwt(claims(**bound, sub=name))
        found.append(desk.ask(f"DPoP {token}", proof=proof(token, key, jti=name)))
    assert [isinstance(each, Grant) for each in found] == [True, False, True]


def test_uses_of_proofs_may_be_remembered_elsewhere() -> None:
    issuers = (Issuer(issuer=ISSUER),)
    rules = ResourceRules(
        resource=RESOURCE, issuers=issuers, dpop=Dpop.ALLOWED, required=frozenset({"read"})
    )
    guard = ResourceGuard(rules, verify, remembers=False)
    keys = guard.key_sets[ISSUER]
    needs = []
    for scope in ("read", "other"):
        token = signer().jwt(claims(**BOUND, scope=scope))
        credential = Credential("dpop", token, proof(token))
        found = guard.judge(credential, "POST", "/mcp", now=0.0, wall=WALL)
        if isinstance(found, NeedKeys):
            assert keys.due(0.0)
            keys.fetched(json.dumps({"keys": [signer().public]}).encode(), 0.0)
            found = guard.judge(credential, "POST", "/mcp", now=0.0, wall=WALL)
        assert isinstance(found, NeedUse)
        assert found.digest == use_digest("p1", thumbprint(signer().jwk))
        assert found.until == WALL + 600
        needs.append(found)
    good, poor = needs
    assert guard.used(good, Seen.FRESH) is good.grant
    for need, seen, status in (
        (good, Seen.REPLAYED, 401),
        (good, Seen.FULL, 503),
        (poor, Seen.FRESH, 403),
        (poor, Seen.REPLAYED, 401),
    ):
        denied = refusal(guard.used(need, seen))
        assert denied.status == status


# Introspection

OPAQUE = Issuer(issuer=ISSUER, introspection_url=f"{ISSUER}/introspect")


def answer(**changed: Any) -> bytes:
    return json.dumps({"active": True, **claims(**changed)}).encode()


def test_an_opaque_token_is_asked_about_once() -> None:
    desk = Desk(OPAQUE)
    desk.answers["opaque"] = answer()
    assert isinstance(desk.bearer("opaque"), Grant)
    assert isinstance(desk.bearer("opaque", now=59.0), Grant)
    assert (desk.questions, desk.fetches, desk.verified) == (1, 0, 0)
    assert isinstance(desk.bearer("opaque", now=60.0), Grant)
    assert desk.questions == 2
    denied = refusal(desk.bearer("other"))
    assert denied.reason == TokenFault.REVOKED
    desk.bearer("other", now=4.0)
    assert desk.questions == 3


def test_a_token_in_its_last_seconds_is_answered() -> None:
    desk = Desk(OPAQUE, verified_for=0.0)
    desk.answers["opaque"] = answer(exp=WALL - 30)
    assert isinstance(desk.bearer("opaque"), Grant)


def test_a_jwt_may_be_asked_about_instead_of_verified() -> None:
    token = signer().jwt(claims())
    desk = Desk(OPAQUE)
    desk.answers[token] = answer()
    assert isinstance(desk.bearer(token), Grant)
    assert (desk.questions, desk.verified) == (1, 0)
    both = Issuer(issuer=ISSUER, introspection_url=f"{ISSUER}/i", jwks_url=f"{ISSUER}/jwks")
    desk = Desk(both)
    assert isinstance(desk.bearer(token), Grant)
    assert (desk.questions, desk.verified) == (0, 1)


@pytest.mark.parametrize("resource", ["https://a.example", "https://a.example/"])
def test_a_resource_that_is_a_whole_origin_is_written_in_two_ways(resource: str) -> None:
    desk = Desk(resource=resource)
    for audience, taken in (
        ("https://a.example", True),
        ("https://A.example/", True),
        ("https://a.example//", False),
        ("https://a.example/mcp", False),
    ):
        found = desk.bearer(signer().jwt(claims(aud=audience)))
        assert isinstance(found, Grant if taken else Denied), audience


def test_audiences_may_be_any_set() -> None:
    given: Any = {"audiences": {"https://a.example/mcp"}}  # no frozenset, which could be hashed
    desk = Desk(Issuer(issuer=ISSUER, **given))
    assert isinstance(desk.bearer(signer().jwt(claims(aud="https://a.example/mcp"))), Grant)
    denied = refusal(desk.bearer(signer().jwt(claims(aud="https://b.example/mcp"))))
    assert denied.reason == TokenFault.AUDIENCE


def test_an_answer_that_cannot_be_read_is_not_kept() -> None:
    desk = Desk(OPAQUE)
    need = NeedIntrospection(OPAQUE, token_key("opaque"))
    assert desk.guard.tokens.begin(need.key)
    with pytest.raises(DocumentRefused):
        desk.guard.introspected(need, b"<html>", now=0.0, wall=WALL)
    assert desk.guard.tokens.begin(need.key)
    assert len(desk.guard.tokens) == 0


def test_what_was_granted_holds_for_as_long_as_its_issuer_says() -> None:
    """Open streams and connections ask at times; the answer may be of a request, too."""
    desk = Desk(OPAQUE)
    desk.answers["opaque"] = answer(exp=WALL + 600)
    grant = desk.bearer("opaque")
    assert isinstance(grant, Grant)

    def look(now: float, later: float = 0.0) -> bool | NeedIntrospection:
        assert isinstance(grant, Grant)
        return desk.guard.holds(grant, "opaque", now=now, wall=WALL + now + later)

    need = NeedIntrospection(OPAQUE, token_key("opaque"))
    assert [look(59.0), look(60.0), look(61.0)] == [True, need, need]
    assert isinstance(desk.bearer("opaque", now=61.0), Grant)  # which asks
    assert [look(100.0), look(121.0)] == [True, need]
    desk.guard.tokens.end(need.key, None, now=121.0, wall=WALL)  # no answer
    assert look(121.0) == need
    del desk.answers["opaque"]
    assert isinstance(desk.bearer("opaque", now=122.0), Denied)
    assert [look(122.0), look(126.9), look(200.0)] == [False] * 3  # the last answer, also late
    assert desk.guard.tokens.look(token_key("opaque"), 127.0) is None  # too old for a request
    assert look(127.0) is False  # whose look takes nothing of it away
    assert look(122.0, 600.0) is True  # what may outlive the token does so


def test_a_later_answer_about_a_bound_token_names_its_binding_as_well() -> None:
    desk = Desk(OPAQUE, dpop=Dpop.ALLOWED)
    desk.answers["opaque"] = answer(**BOUND)
    grant = desk.ask("DPoP opaque", proof=proof("opaque"))
    assert isinstance(grant, Grant)
    need = desk.guard.holds(grant, "opaque", now=60.0, wall=WALL + 60)
    assert isinstance(need, NeedIntrospection)
    assert need.bound
    desk.guard.introspected(need, answer(), now=60.0, wall=WALL + 60)
    assert desk.guard.holds(grant, "opaque", now=60.0, wall=WALL + 60) is False
    refused = refusal(desk.bearer("opaque", now=60.0))
    assert refused.reason == TokenFault.BINDING.value


@pytest.mark.parametrize(
    ("changed", "held"),
    [
        ({}, True),
        ({"scope": "write read more", "roles": ["admin", "user"]}, True),
        ({"scope": "read"}, False),
        ({"roles": ["user"]}, False),
        ({"sub": "ben"}, False),
        ({"aud": "https://other.example"}, False),
        ({"active": False}, False),
    ],
)
def test_a_later_answer_takes_back_what_it_does_not_grant(
    changed: dict[str, Any], held: bool
) -> None:
    desk = Desk(Issuer(issuer=ISSUER, introspection_url=f"{ISSUER}/introspect", roles="roles"))
    granted = {"scope": "read write", "roles": ["admin"]}
    desk.answers["opaque"] = answer(**granted)
    grant = desk.bearer("opaque")
    assert isinstance(grant, Grant)
    desk.answers["opaque"] = answer(**(granted | changed))
    desk.bearer("opaque", now=60.0)
    assert desk.guard.holds(grant, "opaque", now=61.0, wall=WALL + 61) is held


def test_a_token_that_nobody_is_asked_about_holds_until_it_is_revoked_here() -> None:
    both = Issuer(issuer=ISSUER, introspection_url=f"{ISSUER}/i", jwks_url=f"{ISSUER}/jwks")
    for trusted in (Issuer(issuer=ISSUER), both):
        desk, token = Desk(trusted), signer().jwt(claims())
        grant = desk.bearer(token)
        assert isinstance(grant, Grant)
        assert desk.guard.holds(grant, token, now=500.0, wall=WALL + 500) is True
        desk.guard.revoke(token, wall=WALL)
        assert desk.guard.holds(grant, token, now=500.0, wall=WALL + 500) is False


@pytest.mark.parametrize("kid", ["k1", "k2", None])
def test_what_a_withdrawn_key_has_verified_is_taken_back(kid: str | None) -> None:
    """Also if another key has its name now, and from what outlives its token."""
    old, other = Signer("ES256", kid and "k1"), Signer("ES256", kid)
    desk, token = Desk(keys={ISSUER: [old.public]}), old.jwt(claims())
    grant = desk.bearer(token)
    assert isinstance(grant, Grant)
    for published, held in (({**old.public, "use": "sig"}, True), (other.public, False)):
        body = json.dumps({"keys": [published]}).encode()
        desk.guard.key_sets[ISSUER].fetched(body, 300.0)
        for now in (300.0, 900.0):
            assert desk.guard.holds(grant, token, now=now, wall=WALL + now) is held


# Principals


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_no_two_principals_have_one_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (principal_name(*one) == principal_name(*other)) is (one == other)
    assert json.loads(principal_name(*one)) == list(one)


def test_the_name_of_a_principal_can_be_read() -> None:
    assert principal_name(ISSUER, "Jürgen") == f'["{ISSUER}","Jürgen"]'


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_header_does_more_than_be_refused(authorization: bytes, proof: bytes) -> None:
    rules = ResourceRules(resource=RESOURCE, issuers=(Issuer(issuer=ISSUER),), dpop=Dpop.ALLOWED)
    guard = ResourceGuard(rules, verify)
    for scheme in (b"", b"Bearer ", b"DPoP "):
        found = guard.credential([(b"authorization", scheme + authorization), (b"dpop", proof)])
        if isinstance(found, Credential):
            assert isinstance(guard.judge(found, "POST", "/mcp", now=0.0, wall=WALL), Denied)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
CLAIMS = st.dictionaries(
    st.sampled_from([*claims(), "nbf", "cnf", "scp", "azp", "realm", "nonce", "htm", "ath"]), JSON
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "typ", "kid", "jwk", "crit", "x"]), JSON)


@given(CLAIMS, HEADERS, CLAIMS, HEADERS)
def test_no_signed_token_or_proof_does_more_than_be_refused(
    changed: dict[str, Any], header: dict[str, Any], made: dict[str, Any], kind: dict[str, Any]
) -> None:
    issuer = Issuer(issuer=ISSUER, roles="realm.roles")
    desk = Desk(issuer, dpop=Dpop.ALLOWED, nonces=Nonces(bytes(32)))
    token = signer().jwt({**claims(), **changed}, **header)
    bound = signer().jwt(claims(**BOUND))
    usual = {"typ": "dpop+jwt", "alg": "ES256", "jwk": signer().jwk}
    proved = {"jti": "1", "htm": "POST", "htu": RESOURCE, "iat": WALL, **made}
    desk.keys[ISSUER] = [signer().public]
    for found in (
        desk.bearer(token),
        desk.ask(f"DPoP {bound}", proof=signer().jws({**usual, **kind}, proved)),
    ):
        assert isinstance(found, Grant | Denied)
        assert isinstance(found, Grant) or found.status == 401


@pytest.mark.parametrize("ends", [WALL + 600, None, "soon", 10**400, -1, True])
def test_what_is_revoked_is_refused_until_it_is_over(ends: object) -> None:
    desk, token = Desk(), signer().jwt(claims(exp=ends))
    desk.guard.revoke(token, wall=WALL)
    found = refusal(desk.bearer(token))
    assert found.reason == TokenFault.REVOKED.value
