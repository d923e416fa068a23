"""`mcpcore serve` with authorization, and `mcpcore auth key`."""

import json
import re
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from mcpcore import ApiKey, ResourceServer, digest_of, http_request, make_key
from mcpcore_transports.auth.schemes import read_keys_file
from mcpcore_transports.commands.authorization import authenticating, metadata_warning
from mcpcore_transports.commands.options import ServeOptions
from mcpcore_transports.commands.output import Failure
from tests.clock import patience
from tests.command import mcpcore_here
from tests.transports.auth.auth_desk import METADATA, RESOURCE, bearer, call, issuer, judged
from tests.transports.http_fixture import Client, Response, http
from tests.transports.serving import serving
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

APP = "tests.transports.auth.auth_desk:SERVER"
ONE = ["--auth-resource", RESOURCE, "--auth-issuer", "https://id.example"]


async def asked(port: int, data: bytes) -> Response:
    client = Client(await anyio.connect_tcp("127.0.0.1", port))
    try:
        return await client.call(data)
    finally:
        await client.aclose()


async def test_a_server_is_protected_by_options_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = mcpcore_here("auth", "key", "robot", "--scope", "read", "--scope", "more")
    keys = tmp_path / "keys.jsonl"
    keys.write_text(made.stdout)
    key = made.stderr.split()[-1]
    record = json.loads(made.stdout)
    assert (record["principal"], record["scopes"]) == ("robot", ["read", "more"])
    secret = key.removeprefix(f"mck_{record['id']}_")  # which may hold a "_" itself
    assert len(secret) > 40
    assert secret not in made.stdout
    async with issuer() as desk:
        monkeypatch.setenv("MCPCORE_AUTH_ISSUER", desk.url)
        monkeypatch.setenv("MCPCORE_AUTH_SCOPES", "read more")
        monkeypatch.setenv("MCPCORE_AUTH_MAX_FAILURES", "2")
        words = ["--http", "127.0.0.1:0", "--auth-resource", RESOURCE, "--auth-keys", str(keys)]
        words += ["--trusted-proxy", "127.0.0.1", "--auth-type", "at+jwt", "--log-http"]
        with patience():
            async with serving(*words, app=APP, python=PYTHON) as running:
                port = running.port
                found = await asked(port, http(method="GET", target=METADATA))
                assert found.json["scopes_supported"] == ["more", "read"]
                assert (await asked(port, call("who"))).status == 401
                poor = await asked(port, call("who", desk.token(scope="read")))
                assert poor.status == 403
                less = desk.token(scope="read more")
                assert (await asked(port, call("erase", less))).status == 403
                good = desk.token(scope="read more write files")
                assert (await asked(port, call("erase", good))).result == "erased"
                assert json.loads((await asked(port, call("who", key))).result)[0] == "robot"
                for wrong in ("unknown", f"{key}x"):  # of either scheme
                    data = call("who", wrong)
                    assert [(await asked(port, data)).status for _ in range(3)] == [401, 401, 429]
                    another = data.replace(b"\r\n", b"\r\nX-Forwarded-For: 192.0.2.7\r\n", 1)
                    assert (await asked(port, another)).status == 401
                running.process.terminate()
                await running.ended()
                await anyio.wait_all_tasks_blocked()
                told = running.said
    for line in (
        "POST /mcp not authorized: there is no credential of a kind that is taken here"
        " scheme=any address=127.0.0.1",
        "POST /mcp authorized principal=robot scheme='api key' "
        f"credential={record['id']} address=127.0.0.1",
        "POST /mcp not authorized: the API key is not accepted"
        " scheme='api key' credential=unknown address=192.0.2.7",
    ):
        assert f" {line}\n" in told, told
    judged = r"POST /mcp tools/call not authorized: forbidden: .* subject=erase address"
    assert re.search(judged, told)
    assert not [each for each in (secret, good) if each in told]


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({"http": ("a:1",), "ws": ("a:2",)}, "--http, --ws are different URLs"),
        ({"http": ("a:1",), "sse": ("a:2",)}, "--http, --sse are different URLs"),
        ({"http": ("a:1", "b:1")}, None),
        ({"ws": ("a:1",)}, None),
    ],
)
def test_addresses_at_which_nobody_can_sign_in(options: Any, warned: str | None) -> None:
    assert metadata_warning(ServeOptions(**options)) is None
    told = metadata_warning(ServeOptions(**options, auth_resource=RESOURCE))
    assert (told is None) if warned is None else (told is not None and warned in told)


async def test_the_credentials_are_not_left_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = "[name for name in os.environ if name.startswith('MCPCORE_AUTH_')]"
    told = f"import os, sys\nleft = {left}\nsys.stderr.write(f'has {{left}}\\n')\n"
    (tmp_path / "peek.py").write_text(
        f"{told}from mcpcore import Server\nserver = Server('peek')\n"
    )
    monkeypatch.setenv("MCPCORE_AUTH_CLIENT_ID", "us")
    monkeypatch.setenv("MCPCORE_AUTH_CLIENT_SECRET", "s3cr3t")
    words = ["--cwd", str(tmp_path), "--http", "127.0.0.1:0", "--ws", "127.0.0.1:0", *ONE]
    words += ["--auth-introspection", "https://id.example/introspect"]
    async with serving(*words, app="peek:server", python=PYTHON) as running:
        assert "has []\n" in running.said
        assert "--http, --ws are different URLs" in running.said


@pytest.mark.parametrize("authority", [None, "clients.pem"])
def test_the_metadata_says_that_clients_show_certificates(authority: str | None) -> None:
    options = ServeOptions(
        auth_resource=RESOURCE, auth_issuer=("https://id.example",), tls_client_ca=authority
    )
    guard = authenticating(options)
    assert isinstance(guard, ResourceServer)
    (body,) = guard.documents.values()
    said = json.loads(body).get("tls_client_certificate_bound_access_tokens", False)
    assert said == (authority is not None)


WHOLE: dict[str, Any] = {"id": "0" * 12, "digest": "0" * 64, "principal": "anna"}


@pytest.mark.parametrize("text", [json.dumps([WHOLE, WHOLE]), f"{json.dumps(WHOLE)}\n" * 2, " \n"])
def test_a_file_of_keys_is_read(tmp_path: Path, text: str) -> None:
    place = tmp_path / "keys"
    place.write_text(text)
    assert read_keys_file(str(place)) == (ApiKey(**WHOLE),) * text.count("anna")


@pytest.mark.parametrize(
    "text",
    ["[", "{}", '[{"id": 1}]', *(json.dumps(WHOLE | x) for x in ({"digest": "x"}, {"expires": 1}))],
)
def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path, text: str) -> None:
    place = tmp_path / "keys"
    place.write_text(text)
    with pytest.raises(ValueError, match=str(place)):
        read_keys_file(str(place))


@pytest.mark.parametrize(("given", "beyond"), [(None, 429), (101, 401), (0, 401)])
def test_refused_credentials_have_a_limit(tmp_path: Path, given: int | None, beyond: int) -> None:
    keys = tmp_path / "keys.jsonl"
    keys.touch()
    guard: Any = authenticating(ServeOptions(auth_keys=str(keys), auth_max_failures=given))
    wrong = http_request("POST", "/mcp", [("Authorization", "Bearer mck_wrong")], peer="192.0.2.1")
    assert [guard(wrong).status for _ in range(101)] == [401] * 100 + [beyond]


@pytest.mark.parametrize(("wanted", "status"), [("read", None), ("write", 403)])
def test_keys_alone_need_the_scopes_of_every_request(
    tmp_path: Path, wanted: str, status: int | None
) -> None:
    id, text = make_key(bytes(range(40)))
    key = ApiKey(id=id, digest=digest_of(text), principal="robot", scopes=("read",))
    keys = tmp_path / "keys.jsonl"
    keys.write_bytes(msgspec.json.encode(key))
    guard: Any = authenticating(ServeOptions(auth_keys=str(keys), auth_scope=(wanted,)))
    verdict = guard(http_request("POST", "/mcp", [("Authorization", f"Bearer {text}")]))
    assert getattr(verdict, "status", None) == status


async def test_audiences_and_roles_are_those_of_the_issuer() -> None:
    async with issuer() as desk:
        options = ServeOptions(
            auth_resource=RESOURCE,
            auth_issuer=(desk.url,),
            auth_audience=("the application",),
            auth_roles="realm_access.roles",
        )
        guard: Any = authenticating(options)
        for audience, good in (("the application", True), (RESOURCE, True), ("other", False)):
            token = desk.token(aud=audience, realm_access={"roles": ["admin"]})
            found = await judged(guard, bearer(token), peer="127.0.0.1")
            assert getattr(found, "roles", None) == (frozenset({"admin"}) if good else None)


@pytest.mark.parametrize(
    ("given", "typ", "status"),
    [((), "JWT", None), ((), "at+jwt", None), (("at+jwt",), "JWT", 401), (("jwt",), "JWT", None)],
)
async def test_types_are_those_of_the_issuer(
    given: tuple[str, ...], typ: str, status: int | None
) -> None:
    async with issuer() as desk:
        options = ServeOptions(auth_resource=RESOURCE, auth_issuer=(desk.url,), auth_type=given)
        guard: Any = authenticating(options)
        found = await judged(guard, bearer(desk.token(typ=typ)), peer="127.0.0.1")
        assert getattr(found, "status", None) == status


@pytest.mark.parametrize(
    "option",
    [
        {"auth_audience": ("a",)},
        {"auth_type": ("jwt",)},
        {"auth_roles": "r"},
        {"auth_jwks": "https://a.example"},
    ],
)
def test_settings_of_one_issuer_are_not_for_several(option: dict[str, Any]) -> None:
    issuers = ("https://id.example", "https://id2.example")
    options = ServeOptions(auth_resource=RESOURCE, auth_issuer=issuers, **option)
    with pytest.raises(Failure, match=f"{next(iter(option)).replace('_', '-')} is for one issuer"):
        authenticating(options)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--auth-issuer", "https://id.example"], "--auth-issuer needs --auth-resource"),
        (["--auth-resource", RESOURCE], "--auth-resource needs --auth-issuer"),
        (["--auth-roles", "roles"], "--auth-roles needs --auth-resource"),
        (["--auth-audience", "app"], "--auth-audience needs --auth-resource"),
        (["--auth-type", "jwt"], "--auth-type needs --auth-resource"),
        ([*ONE, "--auth-type", "any"], "authorization: types of an issuer's tokens are at+jwt and"),
        (["--auth-scope", "read"], "--auth-scope needs --auth-resource or --auth-keys"),
        (["--auth-keys", "/nowhere"], "error: --auth-keys: /nowhere: No such file or directory"),
        (
            ["--auth-resource", "http://notes.example/mcp", "--auth-issuer", "https://id.example"],
            "authorization: the setting `resource` cannot be used: it is not an https URL",
        ),
        (
            ["--auth-resource", f"{RESOURCE}?x=1", "--auth-issuer", "https://id.example"],
            "authorization: the setting `resource` cannot be used: it has a query",
        ),
        (
            [*ONE, "--auth-jwks", "ftp://id.example/keys"],
            "authorization: the setting `jwks_url` cannot be used: it is not a plain http",
        ),
        (["--tcp", "127.0.0.1:0", "--auth-keys", "x"], "is for --http, --ws and --sse"),
        (["--tcp", "127.0.0.1:0", "--auth-max-failures", "5"], "is for --http, --ws and --sse"),
        (["--auth-max-failures", "0"], "needs --auth-resource or --auth-keys"),
        (["--auth-max-failures", "-1"], "greater than or equal to 0"),
        (["--tcp", "127.0.0.1:0", "--trusted-proxy", "10.0.0.2"], "is for --http, --ws and --sse"),
        (["--trusted-proxy", "proxy.example"], "--trusted-proxy: 'proxy.example'"),
        (["--tcp", "127.0.0.1:0", "--response-header", "A: b"], "is for --http and --sse"),
        (
            ["--response-header", "Date: now"],
            "--response-header: the response header 'Date' is not",
        ),
        (["--response-header", "no header"], "--response-header: what was given is no header"),
    ],
)
def test_options_that_do_not_fit(words: list[str], told: str) -> None:
    done = mcpcore_here("serve", APP, *words)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.parametrize("days", ["1e400", "1e7"])
def test_a_key_ends_at_a_date(days: str) -> None:
    done = mcpcore_here("auth", "key", "ann", "--days", days)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--days: there is no date" in done.stderr


@pytest.mark.parametrize(
    ("words", "variables", "told"),
    [
        (["--auth-keys", ""], {}, "--auth-keys is empty"),
        (["--auth-resource", ""], {}, "--auth-resource is empty"),
        (["--auth-issuer", ""], {}, "--auth-issuer is empty"),
        ([], {"MCPCORE_AUTH_RESOURCE": ""}, "MCPCORE_AUTH_RESOURCE is set and empty"),
        ([], {"MCPCORE_AUTH_KEYS": " "}, "MCPCORE_AUTH_KEYS is set and empty"),
        ([], {"MCPCORE_AUTH_MAX_FAILURES": ""}, "MCPCORE_AUTH_MAX_FAILURES is set and empty"),
        ([], {"MCPCORE_AUTH_CLIENT_SECRET": ""}, "MCPCORE_AUTH_CLIENT_SECRET is set and empty"),
        ([], {"MCPCORE_AUTH_CLIENT_SECRET": "x"}, "needs MCPCORE_AUTH_CLIENT_ID"),
        ([], {"MCPCORE_AUTH_CLIENT_ID": "us"}, "needs MCPCORE_AUTH_CLIENT_SECRET"),
    ],
)
def test_an_empty_or_half_setting_protects_nothing_and_is_refused(
    words: list[str], variables: dict[str, Any], told: str
) -> None:
    done = mcpcore_here("serve", APP, "--http", "127.0.0.1:0", *words, **variables)
    assert done.returncode == 2
    assert told in done.stderr
