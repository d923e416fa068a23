"""What all the Structs of the room have in common: nothing changes, nothing shows a secret."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import mcpcore.auth
from mcpcore.auth.challenges import Challenge
from mcpcore.auth.grants import ClientIdentity, SigningInput, SigningKey
from mcpcore.auth.metadata import Registration, ResourceMetadata
from mcpcore.auth.needs import (
    Callback,
    Done,
    Fetch,
    Fetched,
    NeedFailed,
    OpenUrl,
    Save,
    Sign,
    Signed,
    Stored,
    Text,
)
from mcpcore.auth.records import ClientRecord, TokenRecord, token_key
from mcpcore.auth.resource_server import Credential, ResourceGuard
from mcpcore.auth.settings import AuthorizationSettings
from mcpcore.auth.tokens import ALGORITHMS, Jws, TokenFault
from tests.auth.desk import Desk

SECRET = "the-marked-secret"
CLIENT = ClientIdentity(client_id="me", client_secret=SECRET)


def structs() -> Iterator[Any]:
    for found in pkgutil.iter_modules(mcpcore.auth.__path__, "mcpcore.auth."):
        module = importlib.import_module(found.name)
        for each in vars(module).values():
            if isinstance(each, msgspec.StructMeta) and each.__module__ == found.name:
                yield each


def test_nothing_changes_once_it_is_made() -> None:
    found = set(structs())
    assert len(found) > 40
    assert {each.__name__ for each in found if not each.__struct_config__.frozen} == set()


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (
            Fetch(
                method="POST",
                url=f"https://a.example?{SECRET}",
                headers={"x": SECRET},
                timeout=1.0,
            ),
            "Fetch(method='POST', url='https://a.example?<...>', headers=*, body=*, "
            "timeout=1.0, limit=1048576)",
        ),
        (
            OpenUrl(
                url=f"https://a.example/x?{SECRET}", redirect_uri="", state=SECRET, timeout=1.0
            ),
            "OpenUrl(url='https://a.example/x?<...>', redirect_uri='', state=*, timeout=1.0)",
        ),
        (
            Save(key="k", record=SECRET.encode(), version=3),
            "Save(key='k', record=*, version=3)",
        ),
        (
            Fetched(status=200, body=SECRET.encode()),
            "Fetched(status=200, headers=*, body=*)",
        ),
        (Callback(SECRET), "Callback(query=*)"),
        (Stored(SECRET.encode(), 3), "Stored(record=*, version=3)"),
        (Signed(SECRET.encode()), "Signed(signature=*)"),
        (Text(SECRET), "Text(text=*)"),
        (Done(), "Done()"),
        (NeedFailed("why"), "NeedFailed(reason='why')"),
        (
            TokenRecord(
                resource=f"https://a.example/r?{SECRET}",
                issuer="i",
                token_endpoint="t",
                client=CLIENT,
                access_token=SECRET,
                refresh_token=SECRET,
            ),
            "TokenRecord(resource='https://a.example/r', issuer='i', token_endpoint='t', "
            f"client={CLIENT!r}, access_token=*, scheme='Bearer', refresh_token=*, "
            "scopes=None, thumbprint=None, expires_at=None, lifetime=None)",
        ),
        (
            token_key(f"https://a.example/r?{SECRET}", AuthorizationSettings()),
            "TokenKey(issuer='', resource='https://a.example/r', client_id='', account='', "
            "grant='authorization_code')",
        ),
        (
            ClientRecord(issuer="i", token_endpoint="t", client=CLIENT),
            f"ClientRecord(issuer='i', token_endpoint='t', client={CLIENT!r}, redirect_uri='', "
            "client_name='')",
        ),
        (
            Credential("dpop", SECRET, SECRET),
            "Credential(scheme='dpop', token=*, proof=*)",
        ),
        (Challenge("x", token=SECRET), "Challenge(scheme='x', params={}, token=*)"),
        (Challenge("x", {"a": "b"}), "Challenge(scheme='x', params={'a': 'b'}, token=None)"),
        (
            Jws(
                header={"alg": "ES256", "x": SECRET},
                claims={"x": SECRET},
                algorithm="ES256",
                kid="1",
                signing_input=SECRET.encode(),
                signature=SECRET.encode(),
            ),
            "Jws(header=*, claims=*, algorithm='ES256', kid='1', signing_input=*, signature=*)",
        ),
        (
            Registration(client_id="c", client_secret=SECRET),
            "Registration(client_id='c', client_secret=<secret>, client_secret_expires_at=0, "
            "token_endpoint_auth_method=None, redirect_uris=None)",
        ),
    ],
)
def test_a_representation_shows_no_secret(made: Any, shown: str) -> None:
    assert repr(made).replace("'<...>'", "*") == shown
    assert SECRET not in f"{made} {made!s} {[made]} {list(made.__rich_repr__())}"


def test_what_is_not_said_has_a_value_of_its_type() -> None:
    assert ResourceMetadata(resource="r").authorization_servers == ()
    assert AuthorizationSettings().account == ""


def test_only_asymmetric_algorithms_are_ever_accepted() -> None:
    families = [f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)]
    assert {*families, "EdDSA", "Ed25519"} == ALGORITHMS


def test_what_is_to_be_signed_is_shown_and_nothing_with_it() -> None:
    need = Sign(
        signing=SigningKey(algorithm="ES256"), input=SigningInput(header={}, claims={"aud": "a"})
    )
    assert "aud" in repr(need)


def test_faults_are_sentences_for_anybody() -> None:
    for fault in TokenFault:
        assert fault.value.startswith("the ")
        assert fault.value.replace("DPoP", "dpop").islower()
        assert set(fault.value) <= set("abcdefghijklmnopqrstuvwxyz DPop")


def test_a_challenge_is_written_in_one_way() -> None:
    guard: ResourceGuard = Desk().guard
    place = "https://mcp.example/.well-known/oauth-protected-resource/mcp"
    assert guard.challenge() == f'Bearer resource_metadata="{place}"'
