"""Configuration files: what is read in them, and what is said of those that are wrong."""

import json
import logging
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from mcpcore.auth.grants import ClientIdentity
from mcpcore.auth.settings import AuthorizationSettings, ClientCredentialsGrant, CodeGrant
from mcpcore.auth.upstream import Upstream
from mcpcore.errors import BadConfig, UrlRefused
from mcpcore_transports.auth import environment
from mcpcore_transports.auth.exchange import UpstreamTokens
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.config import (
    MAX_SIZE,
    VARIABLE,
    find_config,
    find_server,
    load_targets,
    read_config,
)
from mcpcore_transports.targets import (
    HttpTarget,
    Replicas,
    SseTarget,
    StdioTarget,
    TcpTarget,
    UnixTarget,
    WebSocketTarget,
)

ENVIRON = {"TOKEN": "t0k", "EMPTY": "", "HOST": "example.com", "NEST": "${TOKEN}"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mcp.json"


def write(file: Path, entry: Any, table: str = "mcpServers") -> Path:
    """A file with one server, "a"."""
    file.write_text(json.dumps({table: {"a": entry}}))
    return file


URL = "https://example.com/mcp"
SSE_URL = "http://x/sse"


@pytest.mark.parametrize("table", ["mcpServers", "servers"])
@pytest.mark.parametrize(
    ("entry", "target"),
    [
        ({"command": "run"}, StdioTarget(("run",))),
        ({"command": "run", "args": []}, StdioTarget(("run",))),
        ({"type": "stdio", "command": "run", "args": ["-x", ""]}, StdioTarget(("run", "-x", ""))),
        ({"command": "r", "env": {"A": "1", "B": ""}}, StdioTarget(("r",), {"A": "1", "B": ""})),
        ({"command": "r", "cwd": "/srv"}, StdioTarget(("r",), None, Path("/srv"))),
        ({"command": "r", "url": None, "headers": {}}, StdioTarget(("r",))),
        ({"url": URL}, HttpTarget(URL)),
        ({"url": URL, "headers": {"A": "b"}}, HttpTarget(URL, {"A": "b"})),
        ({"type": "http", "url": URL}, HttpTarget(URL)),
        ({"type": "streamable-http", "url": URL}, HttpTarget(URL)),
        ({"type": "streamableHttp", "url": URL}, HttpTarget(URL)),
        ({"type": "http", "url": URL, "env": {}, "args": []}, HttpTarget(URL)),
        ({"type": "sse", "url": SSE_URL, "headers": {"A": "b"}}, SseTarget(SSE_URL, {"A": "b"})),
        ({"type": "sse", "url": f"sse+{SSE_URL}"}, SseTarget(SSE_URL)),
        ({"url": f"sse+{SSE_URL}"}, SseTarget(SSE_URL)),
        ({"type": "ws", "url": "wss://x/mcp"}, WebSocketTarget("wss://x/mcp")),
        ({"url": "ws://x/", "headers": {"A": "b"}}, WebSocketTarget("ws://x/", {"A": "b"})),
        ({"url": "tcp://x:1"}, TcpTarget("x", 1)),
        ({"url": "tls://x:1"}, TcpTarget("x", 1, tls=True)),
        ({"url": "unix:///run/x"}, UnixTarget("/run/x")),
        ({"url": URL, "timeout": 5, "alwaysAllow": ["x"], "disabled": False}, HttpTarget(URL)),
    ],
)
def test_a_server_becomes_a_target(file: Path, table: str, entry: Any, target: Any) -> None:
    assert load_targets(write(file, entry, table), environ=ENVIRON) == {"a": target}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${TOKEN}", "t0k"),
        ("Bearer ${TOKEN}, ${TOKEN}", "Bearer t0k, t0k"),
        ("${EMPTY}", ""),
        ("${TOKEN:-other}", "t0k"),
        ("${NOPE:-other one}", "other one"),
        ("${NOPE:-}", ""),
        ("${NOPE:-a:-b$c}", "a:-b$c"),
        ("${EMPTY:-other}", "other"),
        ("${env:TOKEN}", "t0k"),
        ("${NEST}", "${TOKEN}"),
        ("$TOKEN $ {} }", "$TOKEN $ {} }"),
        ("${userHome}", str(Path.home())),
    ],
)
@pytest.mark.parametrize("member", ["command", "args", "env", "url", "headers"])
def test_variables(file: Path, member: str, text: str, value: str) -> None:
    entries: dict[str, tuple[Any, Any]] = {
        "command": ({"command": f"x{text}"}, StdioTarget((f"x{value}",))),
        "args": ({"command": "x", "args": ["1", text]}, StdioTarget(("x", "1", value))),
        "env": ({"command": "x", "env": {"K": text}}, StdioTarget(("x",), {"K": value})),
        "url": ({"url": f"{URL}/{text}"}, HttpTarget(f"{URL}/{value}")),
        "headers": ({"url": URL, "headers": {"K": text}}, HttpTarget(URL, {"K": value})),
    }
    entry, target = entries[member]
    assert load_targets(write(file, entry), environ=ENVIRON) == {"a": target}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${NOPE}", "the environment variable NOPE is not set; set it, or write ${NOPE:-default}"),
        ("${env:NOPE}", "the environment variable NOPE is not set"),
        ("${TOKEN", "'${TOKEN' is not closed"),
        ("${}", "'${}' is unknown: expected ${NAME}, ${NAME:-default}"),
        ("${1A}", "'${1A}' is unknown"),
        ("${TOKEN:?}", "'${TOKEN:?}' is unknown"),
        ("${input:key}", "'${input:key}' is unknown"),
        ("${input:key}", "nobody is asked for inputs here"),
        ("${command:x}", "expected ${NAME}"),
        ("${TOKEN:-${NOPE}}", "'${TOKEN:-${NOPE}': a reference within another is not supported"),
    ],
)
@pytest.mark.parametrize(
    ("entry", "member"),
    [
        ({"command": "x", "args": ["1", "TEXT"]}, "args[1]"),
        ({"command": "x", "env": {"K": "TEXT"}}, "env.K"),
        ({"command": "x", "cwd": "TEXT"}, "cwd"),
        ({"url": URL, "headers": {"K": "TEXT"}}, "headers.K"),
        ({"url": "TEXT"}, "url"),
    ],
)
def test_variables_that_lead_to_nothing(
    file: Path, entry: Any, member: str, text: str, problem: str
) -> None:
    written = json.loads(json.dumps(entry).replace("TEXT", text))
    with pytest.raises(BadConfig) as caught:
        load_targets(write(file, written), environ=ENVIRON)
    assert str(caught.value).startswith(f"{file}: server 'a': {member}: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("place", "root"),
    [
        ("mcp.json", "."),
        ("sub/.mcp.json", "sub"),
        (".vscode/mcp.json", "."),
        (".cursor/m.json", "."),
    ],
)
def test_relative_directories_begin_at_the_project(tmp_path: Path, place: str, root: str) -> None:
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    write(file, {"command": "x", "cwd": "tools", "args": ["${workspaceFolder}/s.py"]})
    folder = tmp_path / root
    target = StdioTarget(("x", f"{folder}/s.py"), None, folder / "tools")
    assert load_targets(file, environ={}) == {"a": target}


def test_a_home_directory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    write(file, {"command": "x", "cwd": "~/tools"})
    assert load_targets(file)["a"] == StdioTarget(("x",), None, Path("/home/ann/tools"))


def test_replicas(file: Path) -> None:
    headers = {"A": "b"}
    spare = {"url": "https://${HOST}/mcp", "backup": True}
    write(file, {"headers": headers, "replicas": [spare, URL, {"url": f"{URL}/2", "weight": 2}]})
    main = (HttpTarget(URL, headers), HttpTarget(f"{URL}/2", headers))
    assert load_targets(file, environ={"HOST": "c"})["a"] == Replicas(
        targets=[*main], weights=[1, 2], fallback=[HttpTarget("https://c/mcp", headers)]
    )
    assert find_server("a", file).target() == main[0]  # of those that use one alone
    assert find_server("a", file).problem == "HOST not set"


WRONG_ENTRIES: list[tuple[Any, str]] = [
    (3, "expected an object, not a number"),
    (None, "expected an object, not null"),
    ([], "expected an object, not a list"),
    ({}, "expected a member 'command' or 'url'"),
    ({"serverUrl": URL}, "expected a member 'command' or 'url'; 'serverUrl' is unknown: is"),
    ({"comand": "x"}, "expected a member 'command' or 'url'; 'comand' is unknown: is 'command'"),
    ({"command": "x", "url": URL}, "expected 'command' or 'url', not both"),
    ({"command": "x", "replicas": [URL]}, "expected 'command' or 'url', not both"),
    ({"url": URL, "replicas": [URL]}, "expected 'url' or 'replicas', not both"),
    ({"replicas": URL}, "replicas: expected a list, not a string"),
    ({"replicas": []}, "replicas: expected one at least that is no backup"),
    ({"replicas": [{"url": URL, "backup": True}]}, "replicas: expected one at least that is no"),
    ({"replicas": [{"url": URL, "backup": 1}]}, "replicas[0].backup: expected true or false"),
    ({"replicas": [URL, 3]}, "replicas[1]: expected a string, not a number"),
    ({"replicas": [{"uri": URL}]}, "replicas[0]: there is no member 'uri'"),
    ({"replicas": [{"url": URL, "weight": 0}]}, "replicas[0].weight: expected a number above 0"),
    ({"replicas": [URL, "b"]}, "url: expected one like https://HOST/mcp, not 'b'"),
    ({"command": 3}, "command: expected a string, not a number"),
    ({"command": ["x", "y"]}, "command: expected a string, not a list"),
    ({"command": ""}, "command: expected a program, not an empty string"),
    ({"command": "x", "args": "y"}, "args: expected a list, not a string"),
    ({"command": "x", "args": ["y", 80]}, 'args[1]: expected a string, not a number; write "80"'),
    ({"command": "x", "args": [None]}, "args[0]: expected a string, not null"),
    ({"command": "x\0"}, "command: a NUL character"),
    ({"command": "x", "args": ["\0"]}, "args[0]: a NUL character"),
    ({"command": "x", "env": ["A=1"]}, "env: expected an object, not a list"),
    ({"command": "x", "env": {"PORT": 80}}, "env.PORT: expected a string, not a number; write"),
    ({"command": "x", "env": {"X": True}}, 'env.X: expected a string, not true or false; write "t'),
    ({"command": "x\ud800"}, "command: half a character"),
    ({"command": "x", "env": {"\udfff": "c"}}, "env: half a character"),
    ({"command": "x", "env": {"": "c"}}, "env: '' is no name of a variable"),
    ({"command": "x", "env": {"A=B": "c"}}, "env: 'A=B' is no name of a variable"),
    ({"command": "x", "cwd": 1}, "cwd: expected a string, not a number"),
    ({"command": "x", "headers": {"A": "b"}}, "headers: a command takes none"),
    ({"command": "x", "type": "http"}, "type http needs a url"),
    ({"url": URL, "type": "stdio"}, "type stdio needs a command"),
    ({"url": URL, "type": "grpc"}, "type: expected stdio, http, streamable-http, sse or ws"),
    ({"url": URL, "type": 1}, "type: expected a string, not a number"),
    ({"url": URL, "args": ["x"]}, "args: goes with a command, not with a url"),
    ({"url": URL, "env": {"A": "b"}}, "env: goes with a command"),
    ({"url": URL, "cwd": "/"}, "cwd: goes with a command"),
    ({"url": 1}, "url: expected a string, not a number"),
    ({"url": ""}, "url: expected one like https://HOST/mcp, not ''"),
    ({"url": "example.com/mcp"}, "url: expected one like https://HOST/mcp"),
    ({"url": "ftp://x/"}, "url: 'ftp://x/' is no target: expected a URL that begins with"),
    ({"url": URL, "type": "ws"}, "url: with type ws it begins with ws:// or wss://"),
    ({"url": "ws://x/", "type": "http"}, "url: with type http it begins with http://"),
    ({"url": "tcp://x:1", "type": "sse"}, "url: with type sse it begins with http://"),
    ({"url": "unix:///x", "headers": {"A": "b"}}, "url: headers cannot be sent over unix"),
    ({"url": URL, "headers": "A: b"}, "headers: expected an object, not a string"),
    ({"url": URL, "headers": {"A": 1}}, "headers.A: expected a string, not a number"),
    ({"url": URL, "headers": {"Host": "x"}}, "headers: the header 'Host' is set by the engine"),
    ({"url": URL, "headers": {"A": "€"}}, "headers: the value of the header 'A' cannot be"),
    ({"url": URL, "disabled": "no"}, "disabled: expected true or false, not a string"),
    ({"url": URL, "oauth": True}, "oauth: expected an object, not true or false"),
    ({"command": "x", "oauth": {}}, "oauth: goes with a url; a command gets its"),
    ({"url": "tcp://x:1", "oauth": {}}, "oauth: it is for URLs of http, ws and sse"),
    (
        {"url": URL, "oauth": {}, "headers": {"authorization": "x"}},
        "oauth sets the header Authorization: give one of the two",
    ),
    ({"url": URL, "oauth": {"clientId": 1}}, "oauth.clientId: expected a string, not a number"),
    ({"url": URL, "oauth": {"clientId": "${EMPTY}"}}, "oauth.clientId: expected a text"),
    (
        {"url": URL, "oauth": {"clientId": "x", "clientSecret": ""}},
        "oauth.clientSecret: expected a text that is not empty",
    ),
    (
        {"url": URL, "oauth": {"clientSecret": "${TOKEN}"}},
        "oauth: clientSecret is that of a clientId, which is not there",
    ),
    (
        {"url": URL, "oauth": {"clientId": "x", "clientSecret": "${NOPE}"}},
        "oauth.clientSecret: the environment variable NOPE is not set",
    ),
    ({"url": URL, "oauth": {"scopes": "a b"}}, "oauth.scopes: expected a list"),
    ({"url": URL, "oauth": {"ceiling": "a b"}}, "oauth.ceiling: expected a list"),
    ({"url": URL, "oauth": {"ceiling": ["a b"]}}, "oauth.scopes or ceiling: expected scopes"),
    ({"url": URL, "oauth": {"scopes": [1]}}, "oauth.scopes[0]: expected a string"),
    ({"url": URL, "oauth": {"scopes": ["a b"]}}, "oauth.scopes or ceiling: expected scopes"),
    ({"url": URL, "oauth": {"grant": "x"}}, "oauth.grant: expected authorization_"),
    (
        {"url": URL, "oauth": {"grant": "client_credentials", "clientId": "x"}},
        "oauth: client_credentials needs clientId, clientSecret",
    ),
    (
        {"url": URL, "oauth": {"grant": "token_exchange", "clientId": "x", "clientSecret": "y"}},
        "oauth: token_exchange needs clientId, clientSecret, issuer",
    ),
    ({"url": URL, "oauth": {"private": "yes"}}, "oauth.private: expected true or false, not a"),
    ({"url": URL, "oauth": {"redirectUri": "http://x/"}}, "oauth: the redirect URI cannot"),
    (
        {"url": URL, "oauth": {"clientMetadataUrl": "https://x"}},
        "oauth: the URL of the client id metadata document cannot be used",
    ),
]


@pytest.mark.parametrize(("entry", "message"), WRONG_ENTRIES)
def test_what_is_wrong_with_a_server_is_said(file: Path, entry: Any, message: str) -> None:
    with pytest.raises(BadConfig) as caught:
        load_targets(write(file, entry), environ=ENVIRON)
    assert str(caught.value).startswith(f"{file}: server 'a': {message}")


SERVER = '{"command": "x"}'
WRONG_FILES = [
    ("", "not JSON: Expecting value (line 1, column 1)"),
    ("{", "not JSON"),
    ('{\n "mcpServers": {},\n}', "(line 3, column 1)"),
    ("[]", "expected an object, not a list"),
    ("{}", "there is no member 'mcpServers' (or 'servers') in it"),
    ('{"mcpservers": {}}', "there is no member 'mcpServers'"),
    ('{"mcpServers": {}, "servers": {}}', "expected 'mcpServers' or 'servers', not both"),
    ('{"mcpServers": []}', "mcpServers: expected an object, not a list"),
    ('{"servers": "x"}', "servers: expected an object, not a string"),
    ('{"mcpServers": {}, "mcpServers": {}}', "'mcpServers' is there twice"),
    (f'{{"mcpServers": {{"a": {SERVER}, "a": {SERVER}}}}}', "mcpServers: 'a' is there twice"),
    (
        '{"servers": {"a": {"url": "http://x/", "url": "http://y/"}}}',
        "server 'a': 'url' is there twice",
    ),
    (
        '{"servers": {"a": {"command": "x", "env": {"K": "1", "K": "2"}}}}',
        "env: 'K' is there twice",
    ),
    ('{"servers": {"": {"command": "x"}}}', "expected a name that can be seen"),
    ('{"servers": {"a\\u001b[2J": {"command": "x"}}}', "expected a name that can be seen"),
    ("[" * 100_000, "not JSON"),
    ('{"a": "' + '\\"' * 1_000_000, "not JSON: Unterminated string"),
    ("{" + "/*" * 1_000_000, "not JSON"),
    ("{" + '"' * 1_000_001, "not JSON"),
    ("//" * 1_000_000, "not JSON"),
    ('{"servers": {"a": {"command": ' + "1" * 5000 + "}}}", "not JSON"),
]


@pytest.mark.parametrize(("text", "message"), WRONG_FILES, ids=lambda text: text[:40])
def test_what_is_wrong_with_a_file_is_said(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(BadConfig, match=re.escape(message)) as caught:
        load_targets(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert len(str(caught.value)) < 500


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b'{"mcpServers": {}} \xff')
    (tmp_path / "large").write_bytes(b" " * (MAX_SIZE + 1))
    for name, told in (
        ("nowhere", "cannot be read: no such file or directory"),
        (".", "cannot be read: is a directory"),
        ("a\0b", "cannot be read: embedded null byte"),
        ("odd", "expected UTF-8"),
        ("large", "larger than"),
    ):
        with pytest.raises(BadConfig, match=told):
            load_targets(tmp_path / name)


def test_comments_and_a_byte_order_mark(file: Path) -> None:
    text = """// written by hand
    {"servers": { /* two
      lines */ "a": {"url": "http://x//y", // not in strings
      "headers": {"A": "/* b */ \\"// c"}}}, "inputs": []}"""
    file.write_text(text, encoding="utf-8-sig")
    headers = {"A": '/* b */ "// c'}
    assert load_targets(file) == {"a": HttpTarget("http://x//y", headers)}
    file.write_text('// one\n/* two\n */ {"servers": nonsense}')
    with pytest.raises(BadConfig, match=re.escape("(line 3, column 17)")):
        load_targets(file)


def test_unknown_members_may_be_there_twice(file: Path) -> None:
    file.write_text('{"x": 1, "x": 2, "mcpServers": {"a": {"command": "x", "y": 1, "y": 2}}}')
    assert load_targets(file) == {"a": StdioTarget(("x",))}


def test_disabled_servers_are_left_out_but_read(file: Path) -> None:
    entries = {"on": {"command": "x"}, "off": {"command": "${NOPE}", "disabled": True}}
    file.write_text(json.dumps({"mcpServers": entries}))
    assert load_targets(file, environ={}) == {"on": StdioTarget(("x",))}
    assert list(read_config(file)) == ["on", "off"]
    with pytest.raises(BadConfig, match="server 'off' is disabled"):
        find_server("off", file)


def test_misspelt_members_are_told(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    entry = {"command": "x", "arg": ["y"], "envFile": ".env", "alwaysAllow": [], "timeout": 3}
    write(file, {**entry, "guard": {"deny": ["*"]}})
    with caplog.at_level(logging.WARNING, "mcpcore.config"):
        assert load_targets(file) == {"a": StdioTarget(("x",))}
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: server 'a': 'arg' is unknown: is 'args' meant?",
        f"{file}: server 'a': 'envFile' is not read: put its variables into 'env'",
        f"{file}: server 'a': 'guard' is not read: a gateway reads it from the member 'gateway' "
        "beside the servers",
    ]


PERSON = CodeGrant(redirect_uri="http://localhost:8414/back")


@pytest.mark.parametrize(
    ("entry", "settings"),
    [
        ({}, AuthorizationSettings()),
        ({"clientId": None, "other": 1}, AuthorizationSettings()),
        ({"ceiling": []}, AuthorizationSettings(ceiling=frozenset())),
        (
            {
                "clientId": "me",
                "scopes": ["a", "${HOST}"],
                "ceiling": ["a", "b", "${HOST}"],
                "account": "work",
                "private": True,
            },
            AuthorizationSettings(
                client=ClientIdentity(client_id="me"),
                scopes=frozenset({"a", "example.com"}),
                ceiling=frozenset({"a", "b", "example.com"}),
                account="work",
                private=True,
            ),
        ),
        (
            {
                "clientId": "${env:HOST}",
                "clientSecret": "${TOKEN}",
                "grant": "client_credentials",
                "issuer": "https://${HOST}",
            },
            AuthorizationSettings(
                grant=ClientCredentialsGrant(),
                client=ClientIdentity(client_id="example.com", client_secret="t0k"),
                issuer="https://example.com",
            ),
        ),
        (
            {
                "redirectUri": "http://localhost:8414/back",
                "clientMetadataUrl": "https://${HOST}/me",
                "grant": "authorization_code",
            },
            AuthorizationSettings(grant=PERSON, metadata_url="https://example.com/me"),
        ),
    ],
)
@pytest.mark.parametrize(
    ("url", "kind"),
    [(URL, HttpTarget), (f"sse+{SSE_URL}", SseTarget), ("wss://x/", WebSocketTarget)],
)
def test_authorization(
    file: Path, url: str, kind: Any, entry: Any, settings: AuthorizationSettings
) -> None:
    write(file, {"url": url, "oauth": entry})
    target = load_targets(file, environ=ENVIRON)["a"]
    assert target == kind(url.removeprefix("sse+"), auth=settings)
    assert "t0k" not in repr(target) + repr(read_config(file)["a"])
    with pytest.raises(UrlRefused) if "http:" in url else nullcontext():
        connect(target)


def test_an_exchange_of_tokens(file: Path) -> None:
    entry = {
        "grant": "token_exchange",
        "clientId": "me",
        "clientSecret": "${TOKEN}",
        "issuer": "https://${HOST}",
        "audience": "files",
        "scopes": ["a"],
        "private": True,
    }
    write(file, {"url": "wss://x/mcp", "oauth": entry})
    target = load_targets(file, environ=ENVIRON)["a"]
    assert isinstance(target, WebSocketTarget)
    assert isinstance(target.auth, UpstreamTokens)
    assert target.auth.upstream == Upstream(
        resource="https://x/mcp",
        issuer="https://example.com",
        client=ClientIdentity(client_id="me", client_secret="t0k"),
        scopes=frozenset({"a"}),
        audience="files",
    )
    assert target.auth._settings.private
    assert "t0k" not in repr(target)


def test_a_secret_of_the_client_comes_out_of_the_keyring(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"clientId": "me", "clientSecret": "${keyring:notes/secret}"}
    server = read_config(write(file, {"url": URL, "oauth": entry}))["a"]
    assert (server.problem, server.doubts) == (None, [])  # nobody is asked to unlock it
    monkeypatch.setattr(environment, "keyring_secret", {"notes/secret": "k3y"}.__getitem__)
    target = server.target({})
    assert isinstance(target, HttpTarget)
    assert isinstance(target.auth, AuthorizationSettings)
    assert target.auth.client == ClientIdentity(client_id="me", client_secret="k3y")
    assert "k3y" not in repr(target)


def test_doubts_about_authorization(file: Path) -> None:
    entry = {"clientId": "x", "clientSecret": "s3cr3t", "clientID": "y", "callbackPort": 8000}
    server = read_config(write(file, {"url": URL, "oauth": entry}))["a"]
    assert server.doubts == [
        "'oauth.clientSecret' stands in the file: ${NAME} or ${keyring:SERVICE/NAME} keeps it out "
        "of it",
        "'oauth.clientID' is unknown: is 'clientId' meant?",
        "'oauth.callbackPort' is unknown, and not read",
    ]
    assert "s3cr3t" not in repr(server)
    server = read_config(write(file, {"url": URL, "auth": {}}))["a"]
    assert server.doubts == ["'auth' is unknown: is 'oauth' meant?"]


def test_arguments_in_the_command_are_told(file: Path, tmp_path: Path) -> None:
    (tmp_path / "a program").touch()
    for command, told in (("npx -y server", True), (str(tmp_path / "a program"), False)):
        server = read_config(write(file, {"command": command}))["a"]
        assert server.doubts == ["'command' is one program: its arguments go into 'args'"] * told
    assert read_config(write(file, {"command": "a b", "args": ["c"]}))["a"].doubts == []


def test_one_server_needs_no_other(file: Path) -> None:
    """A variable that is missing matters to the server that names it."""
    entries = {"good": {"command": "x"}, "bad": {"command": "${NOPE}"}}
    file.write_text(json.dumps({"mcpServers": entries}))
    assert find_server("good", file).target({}) == StdioTarget(("x",))
    with pytest.raises(BadConfig, match=r"server 'bad': command: .* NOPE"):
        find_server("bad", file).target({})
    with pytest.raises(BadConfig, match=r"has no server 'god'; did you mean 'good'\?"):
        find_server("god", file)
    with pytest.raises(BadConfig, match="has no server 'weather'; its servers: good, bad"):
        find_server("weather", file)
    file.write_text('{"mcpServers": {}}')
    with pytest.raises(BadConfig, match="has no server 'x'; its servers: none"):
        find_server("x", file)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"command": "x"}, None),
        ({"command": "x", "disabled": True}, "disabled"),
        ({"command": "${B_}", "args": ["${A_}", "${B_}", "${C_:-c}"]}, "B_, A_ not set"),
        ({"url": "ftp://x"}, "url: 'ftp://x' is no target"),
        ({"url": "https://x/", "headers": {"A": "${input:x}"}}, "headers.A: '${input:x}'"),
        (
            {"url": URL, "oauth": {"clientId": "${B_}", "scopes": ["${A_}"], "ceiling": ["${C_}"]}},
            "B_, A_, C_ not set",
        ),
        ({"url": URL, "oauth": {"scopes": [" "]}}, "oauth.scopes or ceiling: expected scopes"),
    ],
)
def test_problems(file: Path, entry: Any, problem: str | None) -> None:
    found = read_config(write(file, entry))["a"].problem
    assert found == problem or (problem and found and found.startswith(problem))


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ({"url": "ftp://${TOKEN}/"}, "${TOKEN}"),
        ({"url": "http://${TOKEN}:x/"}, "${TOKEN}"),
        ({"url": "tcp://${TOKEN}"}, "${TOKEN}"),
        ({"url": "${TOKEN}"}, "${TOKEN}"),
        ({"url": URL, "headers": {"Key": "${TOKEN}\n"}}, "'Key' cannot be sent"),
    ],
)
def test_no_message_holds_the_value_of_a_variable(file: Path, entry: Any, shown: str) -> None:
    with pytest.raises(BadConfig, match=re.escape(shown)) as caught:
        load_targets(write(file, entry), environ={"TOKEN": "s3cr3t"})
    assert "s3cr3t" not in str(caught.value)


PLACES = ["mcp.json", ".mcp.json", ".vscode/mcp.json", "home/.mcp.json"]


@pytest.mark.parametrize("first", range(len(PLACES) + 1))
def test_where_it_is_found(tmp_path: Path, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(VARIABLE, raising=False)
    for place in PLACES[first:]:
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    found = find_config()
    expected = (tmp_path / PLACES[first]).resolve() if first < len(PLACES) else None
    assert (found.resolve() if found else None) == expected
    monkeypatch.setenv(VARIABLE, "elsewhere.json")
    assert find_config() == Path("elsewhere.json")
    monkeypatch.setenv(VARIABLE, "~/elsewhere.json")
    assert find_config() == tmp_path / "home" / "elsewhere.json"
    monkeypatch.setenv(VARIABLE, "")
    assert (find_config() is None) is (expected is None)


def test_variables_are_those_of_this_process_and_hold_what_a_path_may(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODD", "a b\"'\\ü")
    assert load_targets(write(file, {"command": "${ODD}"}))["a"] == StdioTarget(("a b\"'\\ü",))
