"""Attacks on a client, by their numbers on the design page, as far as it is pure."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from msgspec.structs import replace

from mcpcore import AssertionGrant, ClientCredentialsGrant, ClientIdentity, CodeGrant, SigningKey
from mcpcore.auth.authorization import Authorization, AuthState, Refused
from mcpcore.auth.metadata import MAX_DOCUMENT
from mcpcore.auth.needs import (
    Fetch,
    Fetched,
    Need,
    NeedFailed,
    OpenUrl,
    Outcome,
    Save,
    Sign,
)
from mcpcore.auth.records import ClientRecord, TokenRecord, read_record
from mcpcore.auth.registration import client_key
from mcpcore.errors import AuthorizationError, UrlRefused
from tests.auth.world import (
    AS,
    DPOP,
    GONE,
    ISSUER,
    KEY,
    NAMED,
    OIDC,
    PRM,
    SECRET,
    SEED,
    SERVER,
    World,
    answer,
    claims_of,
    enterprise,
    forbid,
    grants,
    lacking,
    loaded,
    put,
    ready,
    step,
    step_until,
    stopped,
    stored,
)

EVIL = "https://evil.example"


@dataclass(frozen=True)
class Row:
    number: int
    name: str
    must: str
    run: Callable[[World], None]


ROWS: list[Row] = []
Run = Callable[[World], None]


def attack(number: int, name: str, must: str) -> Callable[[Run], Run]:
    def add(run: Run) -> Run:
        ROWS.append(Row(number, name, must, run))
        return run

    return add


def replies(world: World, make: Callable[[dict[str, str]], list[tuple[str, str]]]) -> World:
    """The world, where the browser brings these parameters back."""
    world.reply = lambda world, need, asked: urlencode(make({**asked, "code": "code-x"}))
    return world


def good(asked: dict[str, str]) -> list[tuple[str, str]]:
    return [("code", asked["code"]), ("state", asked["state"]), ("iss", ISSUER)]


def response(
    number: int, name: str, why: str, *changes: Callable[[dict[str, str]], list[tuple[str, str]]],
    advertised: bool = False,
) -> None:  # fmt: skip
    """Rows of authorization responses after which no code is sent anywhere."""

    def run(world: World) -> None:
        for change in changes:
            other = replies(World(), change)
            other.metadata["authorization_response_iss_parameter_supported"] = advertised
            stopped(other, why, before="token")
            assert len(other.opened) == 1

    ROWS.append(Row(number, name, f"no token request: {why}", run))


def without(name: str) -> Callable[[dict[str, str]], list[tuple[str, str]]]:
    return lambda asked: [pair for pair in good(asked) if pair[0] != name]


def changed(name: str, *values: str) -> list[Callable[[dict[str, str]], list[tuple[str, str]]]]:
    return [
        lambda asked, value=value: [*without(name)(asked), (name, value)]  # type: ignore[misc]
        for value in values
    ]


OTHERS = (EVIL, f"{ISSUER}/", ISSUER.upper(), f"{ISSUER}:443", f"{ISSUER}/%2e", "")

# Authorization responses

response(
    1, "the issuer is another one", "of another issuer", *changed("iss", EVIL), advertised=True
)
response(2, "iss is missing though advertised", "names no issuer", without("iss"), advertised=True)
response(3, "iss is wrong and not advertised", "of another issuer", *changed("iss", EVIL))
response(
    4, "iss is equal after normalization only", "of another issuer", *changed("iss", *OTHERS[1:])
)
response(
    5,
    "iss, code or state twice",
    "stands twice",
    lambda asked: [*good(asked), ("iss", ISSUER)],
    lambda asked: [*good(asked), ("code", "other")],
    lambda asked: [("state", "other"), *good(asked)],
)
response(
    12,
    "state is missing or another",
    "the authorization response cannot be used: its state is not the one that was sent",
    without("state"),
    *changed("state", "", "x"),
    lambda asked: [("code", "x"), ("state", asked["state"].swapcase())],
    lambda asked: [("code", "x"), ("state", asked["state"] + " ")],
)


@attack(6, "the error of another issuer", "its text is not shown")
def _(world: World) -> None:
    replies(
        world,
        lambda asked: [
            ("error", "access_denied"),
            ("error_description", "call this number"),
            ("state", asked["state"]),
            ("iss", EVIL),
        ],
    )
    machine = world.refuse(world.client())
    assert "another issuer" in str(machine.error)
    assert "call this" not in str(machine.error)
    assert "access_denied" not in str(machine.error)


@attack(12, "the state of an earlier attempt", "no token request")
def _(world: World) -> None:
    states: list[str] = []

    def reply(world: World, need: OpenUrl, asked: dict[str, str]) -> str | NeedFailed:
        states.append(asked["state"])
        return NeedFailed("closed") if len(states) == 1 else f"code=x&state={states[0]}"

    world.reply = reply
    machine = world.refuse(world.client())
    stopped(world, "its state", before="token", machine=machine)
    assert len(set(states)) == 2


@attack(13, "a code of another session", "without our state it is not taken; PKCE holds the rest")
def _(world: World) -> None:
    other = World()
    ready(other)
    (theirs,) = other.asked()
    replies(world, lambda asked: [("code", "code-1"), ("state", theirs["state"][::-1])])
    stopped(world, "its state", before="token")
    replies(world, lambda asked: [("code", "code-1"), ("state", asked["state"])])
    world.codes["code-1"] = {**theirs, "code_challenge": "of another verifier"}
    machine = world.refuse(world.client())
    assert "invalid_grant" in str(machine.error)


@attack(16, "a query of 1 MB, many parameters", "no token request, in no time")
def _(world: World) -> None:
    for query in ("x=" + "1" * 2**20, "&".join(f"a{n}=1" for n in range(10_000)), "&" * 2**20):
        other = World(reply=lambda world, need, asked, query=query: query)  # type: ignore[misc]
        other.refuse(other.client())
        assert not other.forms()


# Metadata


@attack(7, "the metadata names another issuer", "none of its endpoints is used")
def _(world: World) -> None:
    for issuer in {*OTHERS, f"{ISSUER}//"} - {f"{ISSUER}/"}:
        other = World()
        other.metadata["issuer"] = issuer
        other.pages[f"{ISSUER}{AS}"] = other.metadata
        stopped(other, "of another issuer", before="registration")


@attack(8, "a new token endpoint after there are credentials", "nothing secret goes there")
def _(world: World) -> None:
    ready(world)
    world.metadata["token_endpoint"] = f"{EVIL}/token"
    world.refuse(loaded(world))
    assert world.urls()[-1] == f"{ISSUER}/token"  # the refresh token goes where it came from
    world.lose_tokens()
    before = len(world.sent)
    world.refuse(world.client())
    assert len(world.registered) == 2
    assert not [each for each in world.sent[before:] if b"client-1" in each.body]
    given = World()
    ready(given, client=SECRET)
    given.metadata["token_endpoint"] = f"{EVIL}/token"
    given.lose_tokens()
    stopped(given, "another token endpoint", before="sign-in", client=SECRET)


@attack(9, "no methods of PKCE", "nothing is registered or opened")
def _(world: World) -> None:
    for methods in (None, [], "S256", ["s256"], [None]):
        other = World()
        other.metadata["code_challenge_methods_supported"] = methods
        stopped(other, "does not support PKCE", before="registration")


@attack(10, "plain alone", "nothing is registered or opened")
def _(world: World) -> None:
    world.metadata["code_challenge_methods_supported"] = ["plain"]
    stopped(world, "does not support PKCE", before="registration")


@attack(11, "a second document without PKCE", "the first valid one is final")
def _(world: World) -> None:
    weak = {**world.metadata, "authorization_endpoint": f"{EVIL}/authorize"}
    world.pages[f"{ISSUER}{OIDC}"] = weak
    ready(world)
    assert f"{ISSUER}{OIDC}" not in world.urls()
    world = World(pages=world.pages)
    world.metadata["code_challenge_methods_supported"] = []
    stopped(world, "PKCE", before="registration")
    assert f"{ISSUER}{OIDC}" not in world.urls()


@attack(18, "control characters in texts", "they are not shown")
def _(world: World) -> None:
    evil = "a\x1b]0;b\x07\r\n\u202ec"
    pages: list[dict[str, Any]] = [
        {f"{ISSUER}/token": answer({"error": evil, "error_description": evil}, 400)},
        {f"{ISSUER}/register": answer({"error": evil, "error_description": evil * 100}, 400)},
        {f"{ISSUER}/token": NeedFailed(evil)},
        {f"{ISSUER}{AS}": {"issuer": ISSUER, "token_endpoint": evil}},
    ]
    for page in pages:
        other = World(pages=page)
        text = str(other.refuse(other.client()).error)
        assert text.isprintable()
        assert len(text) < 600
    other = World()
    other.metadata["token_endpoint_auth_methods_supported"] = [evil]
    assert str(other.refuse(other.client()).error).isprintable()
    world.metadata["issuer_x"] = evil
    machine = world.refuse(world.client(), operation=evil)
    machine.notes.clear()
    said = 'Bearer error_description="b\u202ec"'
    world.refuse(machine, challenge=said, operation=evil)
    with pytest.raises(AuthorizationError) as refused:
        world.refuse(machine, challenge=said, operation=evil)
    assert str(refused.value).isprintable()
    assert "(b?c)" in str(refused.value)


@attack(19, "the metadata is about another resource", "no authorization server is asked")
def _(world: World) -> None:
    for resource in (
        f"{EVIL}/mcp",
        "https://mcp.example",  # a parent path, in a place that is not that of the origin
        "https://mcp.example/mc",
        "https://mcp.example/mcp/deeper",
        "https://mcp.example/MCP",
        "https://mcp.example:8443/mcp",
        "https://mcp.example@evil.example/mcp",
        "http://mcp.example/mcp",
        "https://mcp.example/mcp?x",
        "mcp",
    ):
        world.resource["resource"] = resource
        stopped(world, f"about another resource, {resource}", before="discovery")
    evil = "https://mcp.example/evil/mcp"
    for place, resource in (
        (f"{PRM}/evil/mcp", "https://mcp.example/evil"),
        (f"{PRM}/evil/mcp", "https://mcp.example"),
        (f"{PRM}/mcp", SERVER),
    ):
        other = World(pages={place: {**world.resource, "resource": resource}})
        machine = Authorization(evil, seed=SEED)
        other.refuse(machine, challenge=f'Bearer resource_metadata="{place}"')
        assert "about another resource" in str(machine.error)
        assert other.urls() == [place]


@attack(20, "the metadata names no resource", "no authorization server is asked")
def _(world: World) -> None:
    resources: list[Any] = [None, 1, [SERVER], {}]
    for resource in resources:
        world.resource["resource"] = resource
        stopped(world, "its member resource is wrong", before="discovery")


@attack(
    21,
    "the metadata is at another origin",
    "no credentials go there, the resource is ours; a setting forbids it",
)
def _(world: World) -> None:
    ready(world)
    challenge = f'Bearer resource_metadata="{EVIL}/prm"'
    world.pages[f"{EVIL}/prm"] = {**world.resource, "resource": EVIL}
    world.lose_tokens()
    sent = len(world.sent)
    world.refuse(world.client(), challenge=challenge)
    (fetch,) = world.sent[sent:]
    assert (fetch.url, fetch.body) == (f"{EVIL}/prm", b"")
    assert dict(fetch.headers) == {"accept": "application/json"}
    other = World(pages=world.pages)
    stopped(other, "another resource", before="discovery", challenge=challenge)
    for url in (f"{EVIL}/prm", "https://mcp.example:8443/prm", "https://x.mcp.example/prm"):
        forbidden = World(pages={url: world.resource})
        named = f'Bearer resource_metadata="{url}"'
        stopped(
            forbidden, "another origin", before="discovery", challenge=named, foreign_metadata=False
        )
        assert not forbidden.sent
    ready(World(), foreign_metadata=False)
    ready(World(), f'Bearer resource_metadata="{PRM}/mcp"', foreign_metadata=False)


URLS = [
    "file:///etc/passwd",
    "data:application/json,{}",
    "gopher://evil.example/",
    "ftp://evil.example/",
    "javascript:alert(1)",
    "//evil.example",
    "",
    " https://evil.example",
    "https://evil.example/\n",
    "https://u:p@evil.example",
]
PLAIN = ["http://evil.example", "http://8.8.8.8"]
INSIDE = [
    "https://localhost",
    "https://localhost.",
    "https://127.0.0.1",
    "https://127.1",
    "https://2130706433",
    "https://0x7f.0.0.1",
    "https://0177.0.0.1",
    "https://0",
    "https://10.0.0.1",
    "https://172.16.0.1",
    "https://192.168.0.1",
    "https://169.254.169.254",
    "https://100.64.0.1",
    "https://[::1]",
    "https://[::]",
    "https://[::ffff:10.0.0.1]",
    "https://[::ffff:127.0.0.1]",
    "https://[64:ff9b::a00:1]",
    "https://[2002:a00:1::]",
    "https://192.0.0.192",
    "https://192.88.99.2",
    "https://[3fff::1]",
    "https://[fd00::1]",
    "https://[fe80::1]",
    "https://[::10.0.0.1]",
    "https://a..example",
]
PLACES = ("resource_metadata", "issuer", "token", "authorization", "registration", "provider")


def placed(place: str, url: str) -> tuple[World, Authorization]:
    """A world in which one URL is another; the machine has failed by it, and asked nobody there."""
    world = World()
    challenge, settings = NAMED, {}
    if place == "resource_metadata":
        challenge = f'Bearer resource_metadata="{url}"'
    elif place == "issuer":
        world.resource["authorization_servers"] = [url]
    elif place == "provider":
        settings = enterprise(world)
        settings["grant"] = replace(settings["grant"], token_endpoint=url)
    else:
        world.metadata[f"{place}_endpoint"] = url
    machine = world.refuse(world.client(**settings), challenge=challenge)
    assert machine.state is AuthState.FAILED, (place, url)
    assert not [each for each in [*world.urls(), *world.opened] if each.startswith(url or "-")]
    return world, machine


def urls(number: int, name: str, given: list[str]) -> None:
    def run(world: World) -> None:
        for place in PLACES:
            for url in given:
                if place == "resource_metadata" and "\n" in url:
                    continue  # no header holds it
                _, machine = placed(place, url)
                assert "cannot be used" in str(machine.error), (place, url)
                if place == "registration" and url:
                    assert str(machine.error).startswith("the registration endpoint")

    ROWS.append(Row(number, name, "neither fetched nor opened", run))


urls(22, "URLs of other schemes, and no URLs", URLS)
urls(23, "http on a public host", PLAIN)
urls(24, "hosts that are inside, in any spelling", INSIDE)
urls(30, "a script as the authorization endpoint", ["javascript:alert(1)//", "vbscript:x"])


@attack(25, "redirects of metadata and registration", "they are not followed")
def _(world: World) -> None:
    for url in (f"{PRM}/mcp", f"{ISSUER}{AS}", f"{ISSUER}/register"):
        for status in (301, 302, 303, 307, 308):
            other = World(pages={url: answer({}, status, location=EVIL)})
            stopped(
                other, f"status is {status}" if "well" in url else "status 30", before="sign-in"
            )
            assert url in other.urls()
            assert not [each for each in other.urls() if each.startswith(EVIL)]


@attack(26, "a redirect of the token request", "the code goes nowhere else")
def _(world: World) -> None:
    for status in (301, 302, 303, 307, 308):
        other = World(pages={f"{ISSUER}/token": answer({}, status, location=EVIL)})
        machine = other.refuse(other.client())
        assert f"status {status}" in str(machine.error)
        assert other.urls()[-1] == f"{ISSUER}/token"
        assert len(other.forms()) == 1


@attack(31, "characters of a shell, an option, a new line", "CVE-2025-6514: never opened")
def _(world: World) -> None:
    for url in (
        "a:$(cmd.exe /c whoami > c:\\x)?response_type=code",
        f"{ISSUER}/$(id)",
        f"{ISSUER}/`id`",
        f"{ISSUER}/;id",
        f"{ISSUER}/|id",
        f"{ISSUER}/'",
        f'{ISSUER}/"',
        f"{ISSUER}/a b",
        f"{ISSUER}/\n-x",
        "-https://id.example/authorize",
        "--version",
        f"{ISSUER}/authorize?x=$(id)",
    ):
        other, _ = placed("authorization", url)
        assert not other.opened


@attack(32, "an authorization endpoint with a query", "it is kept, but names nothing of ours")
def _(world: World) -> None:
    world.metadata["authorization_endpoint"] = f"{ISSUER}/authorize?tenant=a%20b&x"
    ready(world)
    assert world.opened[0].startswith(f"{ISSUER}/authorize?tenant=a%20b&x&response_type=code&")
    for query in (
        "client_id=x",
        "redirect_uri=x",
        "x&state",
        "%73tate=1",
        "code_challenge_method=",
    ):
        placed("authorization", f"{ISSUER}/authorize?{query}")
    placed("authorization", f"{ISSUER}/authorize#x")


UNSOUND = [
    b" " * (MAX_DOCUMENT + 1),
    b'{"a":' + b"[" * 100_000,
    b'{"a": 1e400}',
    b'{"a": 1' + b"0" * 5000 + b"}",
    b'{"a": 1, "a": 2}',
    b'{"a": "\xff"}',
    b'{"a": NaN}',
    b'{"a": "\\ud800"}',
    b"<html>",
    b"[]",
    b"null",
    b"",
]
BODIES = [f"{PRM}/mcp", f"{ISSUER}{AS}", f"{ISSUER}/register", f"{ISSUER}/token"]


@attack(33, "documents of 64 MB", "no more than 1 MiB is asked for or read")
def _(world: World) -> None:
    ready(world)
    assert {each.limit for each in world.sent} == {MAX_DOCUMENT}
    assert {each.timeout for each in world.sent} == {10.0}
    for url in BODIES:
        other = World(pages={url: answer(UNSOUND[0])})
        assert "larger than" in str(other.refuse(other.client()).error)


@attack(34, "JSON that is not sound", "the flow fails, and by nothing else")
def _(world: World) -> None:
    for url in BODIES:
        for body in UNSOUND[1:]:
            other = World(pages={url: answer(body)})
            machine = other.refuse(other.client())
            assert machine.state is AuthState.FAILED, (url, body)
            assert "cannot be used" in str(machine.error)


@attack(35, "every member of another type", "dropped and noted, or refused")
def _(world: World) -> None:
    ready(world)
    documents = {
        f"{PRM}/mcp": world.resource,
        f"{ISSUER}{AS}": world.metadata,
        f"{ISSUER}/register": {"client_id": "x", "client_secret": "y", "redirect_uris": []},
        f"{ISSUER}/token": {
            "access_token": "x",
            "token_type": "Bearer",
            "expires_in": 1,
            "refresh_token": "y",
            "scope": "z",
        },
    }
    values: list[Any] = [7, "x", [], [[]], {}, True, None, 10**400]
    for url, document in documents.items():
        for name in document:
            for value in values:
                other = World(pages={url: {**document, name: value}})
                machine = other.refuse(other.client())
                assert machine.state in (AuthState.READY, AuthState.FAILED)


@attack(36, "parameters that only look like ours", "the well-known places are asked")
def _(world: World) -> None:
    for challenge in (
        f'Bearer realm="x, resource_metadata=\\"{EVIL}\\""',
        f'Bearer xresource_metadata="{EVIL}", resource_metadata_x="{EVIL}"',
        f'Basic resource_metadata="{EVIL}"',
        f'Bearer resource_metadata="{EVIL}", resource_metadata="{EVIL}"',
        f'Bearer resource_metadata="{EVIL}',
        "Bearer " + "x" * 2**20,
        "Bearer, " * 1000,
        "Basic, " * 1000 + f'Bearer resource_metadata="{EVIL}"',
        'Bearer scope="a\\" b"',
        'Bearer scope="a\r\nb"',
    ):
        other = World()
        other.refuse(other.client(), challenge=challenge)
        assert other.urls()[0] == f"{PRM}/mcp"
        assert "scope" not in other.asked()[0]


@attack(37, "the challenge asks for everything", "the ceiling of the user holds")
def _(world: World) -> None:
    ceiling = frozenset({"read"})
    challenge = 'Bearer scope="read admin:everything"'
    stopped(world, "admin:everything", before="registration", challenge=challenge, ceiling=ceiling)
    world.resource["scopes_supported"] = ["read", "admin"]
    world.token["scope"] = "read admin"
    machine = world.refuse(world.client(ceiling=ceiling), challenge=NAMED)
    assert world.asked()[-1]["scope"] == "read"
    assert machine.token is None
    assert KEY not in world.store
    assert str(machine.error).endswith("its scopes are more than are allowed: admin")
    world.token["scope"] = "read"
    machine = ready(world, ceiling=ceiling)
    with pytest.raises(AssertionError, match="not allowed"):
        assert forbid(world, machine, "admin").state is AuthState.READY, machine.error
    world.token["scope"] = None
    world.resource["scopes_supported"] = ["admin"]  # then none of them is asked for, and none told
    ready(world, ceiling=ceiling)
    assert world.asked()[-1]["scope"] == "read"


# Refusals without end


@attack(38, "401 or 403 for ever", "two authorizations or one, then the error")
def _(world: World) -> None:
    for status, challenge, most in ((401, NAMED, 2), (403, lacking("a"), 1)):
        other = World()
        machine = other.client()
        for _ in range(most):
            other.refuse(machine, status, challenge, "x")
        for _ in range(3):
            with pytest.raises(AuthorizationError, match=f"refuses x after {most}"):
                other.refuse(machine, status, challenge, "x")
        assert len(other.opened) == most


@attack(39, "401 for some requests only, alternating scopes", "each operation has its limit")
def _(world: World) -> None:
    machine = world.client()
    for turn in range(3):
        world.refuse(machine, challenge=f'Bearer scope="a{turn}"', operation="a")
        machine.accepted("b")
    with pytest.raises(AuthorizationError, match="refuses a after 3"):
        world.refuse(machine, operation="a")
    assert len(world.opened) <= 3


# Tokens


@attack(40, "a token of another type", "it is refused")
def _(world: World) -> None:
    for kind, dpop in (("mac", None), ("", None), ("DPoP", None), ("N_A", None), ("Bearer", DPOP)):
        other = World(token={"token_type": kind})
        machine = other.refuse(other.client(dpop=dpop))
        assert "its type is not" in str(machine.error)
        assert machine.token is None
    other = World(token={"token_type": None})
    assert "token_type is wrong" in str(other.refuse(other.client()).error)


@attack(41, "a token that no header can hold", "it is refused")
def _(world: World) -> None:
    for text in ("", "a\r\nx: y", "a\x00", "a b", "é", "a\u2028", "a" * 2**17, "\x7f"):
        for name in ("access_token", "refresh_token")[: 2 if text else 1]:
            other = World(token={name: text})
            machine = other.refuse(other.client())
            assert "its token cannot be sent" in str(machine.error), (name, text)
            assert KEY not in other.store


@attack(42, "lifetimes that are none", "ignored; the token is used until a 401")
def _(world: World) -> None:
    ignored = "the lifetime of the token is not sound and is ignored"
    dropped = "the token response: its member expires_in is wrong and ignored"
    for note, lifetimes in (
        (ignored, [-1, 0, 0.5, 2**40, 10**30]),
        (dropped, ["3600", 10**400, [], True]),
    ):
        for lifetime in lifetimes:
            other = World(token={"expires_in": lifetime})
            machine = ready(other)
            assert (machine.notes, stored(other).expires_at) == ([note], None)
            assert not machine.expiring(2.0**60)
    other = World(token={"expires_in": "1e400"})
    assert not ready(other).expiring(2.0**60)


@attack(43, "a refresh without a new refresh token, or with more scopes", "kept; noted")
def _(world: World) -> None:
    machine = ready(world, 'Bearer scope="a"')
    world.token = {"refresh_token": None, "scope": "a admin"}
    world.refuse(machine)
    assert (stored(world).refresh_token, stored(world).scopes) == ("refresh-1", ("a", "admin"))
    assert machine.notes == ["the token has more scopes than were asked for"]


@attack(44, "twenty requests meet one expiry", "one refresh")
def _(world: World) -> None:
    machine = ready(world)
    for _ in range(20):
        machine.start(Refused(status=401, lines=("Bearer",), generation=1), wall=world.wall)
        world.run(machine)
    assert grants(world) == ["authorization_code", "refresh_token"]


@attack(44, "five machines with one store and a rotating server", "one refresh")
def _(world: World) -> None:
    ready(world)
    machines = [loaded(world) for _ in range(5)]
    for machine in machines:
        world.refuse(machine)
    assert {machine.token for machine in machines} == {("Bearer", "access-2")}
    assert grants(world) == ["authorization_code", "refresh_token"]


@attack(45, "the loser of a race", "it does not remove the winner's token")
def _(_: World) -> None:
    for refused in (True, False):
        world = World()
        machine = ready(world)
        if refused:
            world.pages[f"{ISSUER}/token"] = answer({"error": "invalid_grant"}, 400)
        machine.start(Refused(status=401, generation=1), wall=world.wall)
        step_until(world, machine, Save)
        put(world, access_token="winner")
        step(world, machine)
        assert stored(world).access_token == "winner"
        assert "another process has stored a token meanwhile" in machine.notes
        machine.cancel("enough", wall=world.wall)
        world.run(machine)


@attack(46, "the outcome of a refresh is unknown", "the store is read before the next one")
def _(world: World) -> None:
    machine = ready(world)
    world.pages[f"{ISSUER}/token"] = NeedFailed("the connection broke")
    world.refuse(machine)
    del world.pages[f"{ISSUER}/token"]
    put(world, access_token="other")
    world.refuse(machine)
    assert machine.token == ("Bearer", "other")
    assert grants(world) == ["authorization_code", "refresh_token"]


@attack(47, "a registration of another kind", "refused, or done without what was not asked for")
def _(world: World) -> None:
    basic, post = (
        {"token_endpoint_auth_method": f"client_secret_{way}"} for way in ("basic", "post")
    )
    for members, why in (
        ({"redirect_uris": [f"{EVIL}/cb"]}, "it is for other redirect URIs"),
        ({"redirect_uris": ["http://127.0.0.1/evil"]}, "it is for other redirect URIs"),
        ({"redirect_uris": ["app:/cb", "::"]}, "it is for other redirect URIs"),
        ({"token_endpoint_auth_method": "client_secret_jwt"}, "it asks for another way"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "it asks for another way"),
        ({**post, "client_secret": None}, "it asks for another way"),
        ({"client_id": ""}, "its client id cannot be sent"),
        ({"client_id": "a\r\nb"}, "its client id cannot be sent"),
        ({"client_id": "é"}, "its client id cannot be sent"),
        ({"client_id": None}, "its member client_id is wrong"),
        ({**basic, "client_secret_expires_at": 5}, "its secret has expired"),
    ):
        other = World(registration=members)
        stopped(other, f"the registration cannot be used: {why}", before="sign-in")
        assert not [key for key in other.store if key.startswith("client")]
    ready(world)
    assert "client_secret" not in world.forms()[0]
    ready(World(registration={"client_secret_expires_at": 5}))  # of a secret that is not used
    ready(World(registration={"redirect_uris": ["app:/cb", "http://127.0.0.1/callback"]}))
    url = World(registration={"client_id": f"{EVIL}/client.json"})
    ready(url)
    assert EVIL not in "".join(url.urls())


@attack(48, "credentials of one issuer at another", "never")
def _(world: World) -> None:
    ready(world)
    secret = World()
    ready(secret, client=SECRET)
    for each, settings in ((world, {}), (secret, {"client": SECRET})):
        text = json.dumps(each.metadata).replace(ISSUER, EVIL)
        each.metadata = json.loads(text)
        each.pages[f"{EVIL}{AS}"] = each.metadata
        each.resource["authorization_servers"] = [EVIL]
        each.lose_tokens()
        each.refuse(each.client(**settings))
        bodies = [
            str(request.body) + str([str.__str__(value) for value in request.headers.values()])
            for request in each.sent
            if request.url.startswith(EVIL)
        ]
        assert not [body for body in bodies if "client-1" in body or "pre" in body]
    assert len(world.registered) == 2
    assert len(secret.opened) == 1


def bare() -> World:
    """A server without any metadata, which takes requests for tokens itself."""
    return World(pages={f"{PRM}/mcp": GONE})


@attack(48, "a server without metadata, though an issuer is set", "it gets no credentials")
def _(world: World) -> None:
    for grant in (CodeGrant(), ClientCredentialsGrant()):
        other = bare()
        given: dict[str, Any] = {"client": SECRET, "issuer": ISSUER, "grant": grant}
        stopped(other, f"not the issuer {ISSUER}", before="discovery", challenge="Bearer", **given)
        assert other.urls() == [f"{PRM}/mcp", PRM]
        other.metadata["issuer"] = "https://mcp.example"
        ready(other, "Bearer", **{**given, "issuer": "https://mcp.example"})


@attack(49, "the token of a server at another path", "each resource has its own record")
def _(world: World) -> None:
    ready(world)
    for url in (f"{SERVER}/b", "https://mcp.example/b", "https://mcp.example", f"{SERVER}x"):
        other = Authorization(url, seed=SEED)
        assert world.load(other).token is None, url


@attack(50, "a record of another server under this name", "it is not used")
def _(world: World) -> None:
    ready(world)
    put(world, resource=f"{EVIL}/mcp")
    assert loaded(world).token is None


def said(world: World, machine: Authorization, challenge: str = NAMED) -> list[str]:
    """All that is shown of the needs and outcomes of a flow."""
    shown: list[str] = []
    machine.start(Refused(status=401, lines=(challenge,)), wall=world.wall)
    while (need := machine.need) is not None:
        outcome: Need | Outcome = world.carry_out(need)
        shown += [repr(need), str(need), repr(outcome), f"{outcome}", repr(machine)]
        machine.give(outcome, wall=world.wall)  # type: ignore[arg-type]
    return [*shown, repr(machine.error), *machine.notes, repr(machine.token)]


@attack(52, "secrets in representations and errors", "none")
def _(world: World) -> None:
    marked = "s3cr3t"
    world.registration = {"client_secret": f"{marked}-client"}
    world.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    world.token = {
        "access_token": f"{marked}-access",
        "refresh_token": f"{marked}-refresh",
        "token_type": "DPoP",
    }

    def reply(world: World, need: OpenUrl, asked: dict[str, str]) -> str:
        world.codes[f"{marked}-code"] = asked
        return urlencode(good({**asked, "code": f"{marked}-code"}))

    world.reply = reply
    machine = world.client(dpop=DPOP)
    shown = said(world, machine)
    for extra in (world.store[KEY][0], world.store[client_key(ISSUER, "authorization_code")][0]):
        assert marked.encode() in extra
        for kind in (TokenRecord, ClientRecord):
            shown.append(repr(read_record(extra, kind)))  # type: ignore[type-var]
    provider = World(assertion=f"{marked}-assertion")
    given = enterprise(provider, access_token=f"{marked}-jag")
    given["client"] = ClientIdentity(client_id="x", client_secret=f"{marked}-given")
    shown += said(provider, provider.client(**given))
    shown += [repr(given), repr(provider.client(**given).settings)]
    assert not [each for each in shown if marked in each]
    (form,) = world.forms()
    (asked,) = world.asked()
    assert not [each for each in shown if form["code_verifier"] in each or asked["state"] in each]


@attack(54, "nonces without end, of other origins, of 100 kB", "one retry; kept by origin")
def _(world: World) -> None:
    def token(world: World, need: Fetch, form: dict[str, str]) -> Fetched:
        nonce = f"n{len(world.forms())}"
        return answer({"error": "use_dpop_nonce"}, 400, dpop_nonce=nonce)

    world.pages[f"{ISSUER}/token"] = token
    machine = world.refuse(world.client(dpop=DPOP))
    assert "use_dpop_nonce" in str(machine.error)
    assert len(world.forms()) == 2
    for nonce, key in (("x" * 100_000, DPOP), ("", DPOP), ("a b", DPOP), (None, DPOP), ("n", None)):
        headers = {} if nonce is None else {"dpop_nonce": nonce}
        page = answer({"error": "use_dpop_nonce"}, 400, **headers)
        other = World(pages={f"{ISSUER}/token": page})
        assert "use_dpop_nonce" in str(other.refuse(other.client(dpop=key)).error)
        assert len(other.forms()) == 1
    assert machine.take_nonce(EVIL, "of-evil")
    assert "nonce" not in claims_of(_proof(world.client(dpop=DPOP), world))


def _proof(machine: Authorization, world: World) -> str:
    world.pages.clear()
    world.token["token_type"] = "DPoP"
    world.refuse(machine)
    need = machine.proof("POST", SERVER, wall=world.wall)
    assert isinstance(need, Sign)
    return need.input.signed(b"x")


@attack(55, "an issuer with the token endpoint of another", "the assertion is for the issuer alone")
def _(world: World) -> None:
    world.metadata["token_endpoint"] = "https://honest.example/token"
    world.metadata["token_endpoint_auth_methods_supported"] = ["private_key_jwt"]
    client = ClientIdentity(client_id="x", signing=SigningKey(algorithm="ES256"))
    world.refuse(world.client(grant=ClientCredentialsGrant(), client=client))
    (form,) = world.forms()
    assert claims_of(form["client_assertion"])["aud"] == ISSUER


@attack(55, "a server without metadata, though an issuer is set", "no assertion is made for it")
def _(world: World) -> None:
    world.assertion = NeedFailed("an assertion was asked for")
    client = ClientIdentity(client_id="x", signing=SigningKey(algorithm="ES256"))
    settings: list[dict[str, Any]] = [
        {"grant": AssertionGrant()},
        {"grant": ClientCredentialsGrant(), "client": client},
        enterprise(world),
    ]
    for given in settings:
        other = bare()
        other.assertion = world.assertion
        why = f"not the issuer {ISSUER}"
        stopped(other, why, before="discovery", challenge="Bearer", issuer=ISSUER, **given)


@attack(56, "an identity provider gives another token", "it is sent nowhere")
def _(world: World) -> None:
    for members in (
        {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"},
        {"issued_token_type": None},
        {"token_type": "Bearer"},
    ):
        other = World()
        machine = other.refuse(other.client(**enterprise(other, **members)))
        assert "a token of another type" in str(machine.error)
        assert len(other.forms()) == 1


@attack(59, "the clock jumps by a day", "one refresh, no loop")
def _(world: World) -> None:
    for jump in (-86_400, 86_400):
        other = World()
        machine = ready(other)
        other.wall += jump
        assert machine.expiring(other.wall) is (jump > 0)
        if jump > 0:
            other.renew(machine)
        assert not machine.expiring(other.wall)
        other.wall -= jump
        assert not machine.expiring(other.wall)
        assert len(other.forms()) == (2 if jump > 0 else 1)


@attack(60, "a server without TLS", "no token goes there, but on loopback")
def _(world: World) -> None:
    for url in ("http://mcp.example/mcp", "http://8.8.8.8/mcp", "http://192.168.0.1/mcp"):
        with pytest.raises(UrlRefused):
            Authorization(url, seed=SEED)
    assert Authorization("http://127.0.0.1:3000/mcp", seed=SEED).token is None


@attack(26, "an assertion that was refused", "it is not sent again")
def _(world: World) -> None:
    world.pages[f"{ISSUER}/token"] = answer({"error": "invalid_grant"}, 400)
    world.refuse(world.client(grant=AssertionGrant(), client=SECRET))
    assert len(world.forms()) == 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number} {row.name}")
def test_an_attack_on_a_client_fails(row: Row) -> None:
    row.run(World())


def test_a_row_would_see_that_a_client_is_let_in() -> None:
    world = World()
    with pytest.raises(AssertionError):
        stopped(world, "", before="token")
    assert world.opened
