"""Credentials of programs on standard streams: who the client is, secrets by name, no argv."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcpcore import ClientSettings, connect
from mcpcore.errors import AuthorizationError, BadConfig, LinkError
from mcpcore_transports.auth.environment import (
    argv_warning,
    environment_principal,
    environment_secret,
    keyring_secret,
    token_in,
)
from mcpcore_transports.client.config import load_targets, read_config
from mcpcore_transports.stream.settings import ProcessSettings
from mcpcore_transports.targets import StdioTarget
from tests.command import mcpcore_here
from tests.transports.auth.test_auth_stores import Ring, ring
from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

__all__ = ["ring"]  # a fixture

SERVER = '''
from mcpcore import Context, Server

server = Server("who", version="1")


@server.tool()
def who(context: Context) -> dict[str, list[str]]:
    """Say who the client is, and with which scopes."""
    found = context.principal
    return {"who": [] if found is None else [found.name, *sorted(found.scopes)]}
'''
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("environ", "name", "scopes"),
    [
        ({"MCPCORE_PRINCIPAL": "anna"}, "anna", set()),
        ({"MCPCORE_PRINCIPAL": "anna", "MCPCORE_SCOPES": ""}, "anna", set()),
        ({"MCPCORE_PRINCIPAL": "anna", "MCPCORE_SCOPES": "  "}, "anna", set()),
        ({"MCPCORE_PRINCIPAL": "a b", "MCPCORE_SCOPES": " r  w"}, "a b", {"r", "w"}),
        ({"MCPCORE_PRINCIPAL": "a", "MCPCORE_ROLES": "admin owner"}, "a", set()),
    ],
)
def test_the_environment_names_the_client(
    environ: dict[str, str], name: str, scopes: set[str]
) -> None:
    found = environment_principal(environ)
    assert (found.name, set(found.scopes), dict(found.claims)) == (name, scopes, {})
    assert found.roles == set(environ.get("MCPCORE_ROLES", "").split())


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "MCPCORE_PRINCIPAL, the name of the client, is not set"),
        ({"MCPCORE_PRINCIPAL": ""}, "MCPCORE_PRINCIPAL, the name of the client, is not set"),
        ({"MCPCORE_PRINCIPAL": "a\nb"}, "is not printable"),
        ({"MCPCORE_PRINCIPAL": "a", "MCPCORE_SCOPES": 'r"w'}, "MCPCORE_SCOPES holds no scopes"),
        ({"MCPCORE_PRINCIPAL": "a", "MCPCORE_SCOPES": "r\nw"}, "MCPCORE_SCOPES holds no scopes"),
    ],
)
def test_an_environment_that_names_nobody_is_refused(environ: dict[str, str], problem: str) -> None:
    with pytest.raises(AuthorizationError, match=problem):
        environment_principal(environ)


def test_this_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCPCORE_PRINCIPAL", "anna")
    monkeypatch.setenv("A_SECRET", "the-secret")
    assert environment_principal().name == "anna"
    assert environment_secret("A_SECRET").reveal() == "the-secret"


def test_a_secret_is_shown_by_nothing_but_reveal() -> None:
    secret = environment_secret("KEY", {"KEY": "the-secret"})
    assert "the-secret" not in f"{secret} {secret!r} {[secret]} {secret!s}"
    assert secret.reveal() == "the-secret"


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}])
def test_a_secret_that_is_missing_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(AuthorizationError, match="the variable KEY, a secret, is not set"):
        environment_secret("KEY", environ)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["server", "--token", "0123456789"], "--token"),
        (["server", "--github-token=0123456789"], "--github-token"),
        (["server", "-api-key", "0123456789"], "-api-key"),
        (["server", "--API-KEY", "0123456789"], "--API-KEY"),
        (["server", "--password=correct horse"], "--password"),
        (["server", "--client-secret", "0123456789"], "--client-secret"),
        (["server", f"x={JWT}"], "argument 1"),
        (["server", "-H", "Authorization: Bearer 0123456789"], "argument 2"),
        (["server", "ghp_0123456789abcdefghij"], "argument 1"),
        (["server", "mck_0123456789ab_0123456789"], "argument 1"),
        (["server", "glpat-0123456789abcdefghij"], "argument 1"),
        (["server", "xoxb-0123456789abcdefghij"], "argument 1"),
        (["server", "--token"], None),
        (["server", "--token", "short"], None),
        (["server", "--token", "--verbose"], None),
        (["server", "--token", "$TOKEN_OF_MINE"], None),
        (["server", "--token-file", "/run/secrets/token"], None),
        (["server", "--max-tokens", "1234567890"], None),
        (["server", "--port", "8000", "a", "task-0123456789abcdefghij"], None),
        (["uvx", "mcp-server-time", "--local-timezone", "Europe/Berlin"], None),
        ([], None),
    ],
)
def test_a_token_in_a_command_line_is_found(words: list[str], place: str | None) -> None:
    assert token_in(words) == place
    warning = argv_warning(words)
    assert (warning is None) == (place is None)
    if warning is not None:
        assert f"({place})" in warning
        assert not any(word in warning for word in words[1:] if word != place)


# Real processes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "who.py").write_text(SERVER)
    return tmp_path


def target(folder: Path, *words: str, **env: str) -> StdioTarget:
    command = (*PYTHON, "-m", "mcpcore_transports.commands.main", "serve", "who:server")
    return StdioTarget((*command, "--stdio", *words), env or None, folder)


@pytest.mark.requirement("basic/authorization/index/stdio-environment")
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("words", "env", "who"),
    [
        ((), {"MCPCORE_PRINCIPAL": "anna"}, []),
        (("--env-principal",), {"MCPCORE_PRINCIPAL": "anna"}, ["anna"]),
        (
            ("--env-principal",),
            {"MCPCORE_PRINCIPAL": "anna", "MCPCORE_SCOPES": "write read"},
            ["anna", "read", "write"],
        ),
    ],
)
@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_handlers_see_the_client_that_the_environment_names(
    folder: Path, words: tuple[str, ...], env: dict[str, str], who: list[str], revision: str
) -> None:
    async with connect(target(folder, *words, **env), revision=revision) as client:
        result = await client.call_tool("who", {})
        assert result.structured_content == {"who": who}


PROGRAM = """
import sys, anyio
from mcpcore import ServeSettings, StdioSettings, run, serve
from who import server

settings = ServeSettings(stdio=StdioSettings(env_principal="named" in sys.argv, signals=False))
if "serve" in sys.argv:
    anyio.run(lambda: serve(server, stdio=True, settings=settings))
else:
    run(server, stdio=True, settings=settings)
"""


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["serve", "run"])
@pytest.mark.parametrize("named", [True, False])
async def test_a_program_takes_the_client_from_the_environment_if_it_says_so(
    folder: Path, way: str, named: bool
) -> None:
    (folder / "program.py").write_text(PROGRAM)
    command = (sys.executable, "program.py", way, *(["named"] if named else []))
    env = {"MCPCORE_PRINCIPAL": "anna", "MCPCORE_SCOPES": "read"}
    async with connect(StdioTarget(command, env, folder)) as client:
        result = await client.call_tool("who", {})
        assert result.structured_content == {"who": ["anna", "read"] if named else []}


@pytest.mark.parametrize("way", ["serve", "run", "command"])
def test_a_server_warns_of_a_token_in_its_own_command_line(folder: Path, way: str) -> None:
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py", way]
    if way == "command":  # which has no such option: the word is the name of a file
        words = "-m mcpcore_transports.commands.main serve who:server --stdio --trace"
        command = [sys.executable, *words.split()]
    for word, warned in (("--token=0123456789", True), ("plain", False)):
        word = f"ghp_{'0' * 20}" if way == "command" and warned else word
        done = subprocess.run([*command, word], cwd=folder, input=b"", capture_output=True)
        assert done.returncode == 0, done.stderr
        assert (b"a token seems to stand in the command line" in done.stderr) is warned
        assert word.encode() not in done.stderr


@pytest.mark.anyio
async def test_a_server_without_the_name_of_its_client_does_not_start(folder: Path) -> None:
    settings = ClientSettings(process=ProcessSettings(stderr="discard"))
    with pytest.raises(LinkError, match="MCPCORE_PRINCIPAL"):
        async with connect(target(folder, "--env-principal"), settings=settings):
            raise AssertionError("it has started")


def test_only_standard_input_and_output_have_such_a_client(folder: Path) -> None:
    done = mcpcore_here("serve", "who:server", "--http", "127.0.0.1:0", "--env-principal")
    assert (done.returncode, "--env-principal is for --stdio" in done.stderr) == (2, True)


@pytest.mark.anyio
async def test_a_token_in_the_command_of_a_server_is_warned_of(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit(3)", "--token", "0123456789"]
    with caplog.at_level(logging.WARNING), pytest.raises(LinkError):
        async with connect(command):
            raise AssertionError("it has started")
    told = [record.getMessage() for record in caplog.records if record.name == "mcpcore.stdio"]
    assert sum("(--token)" in each for each in told) >= 1
    assert "0123456789" not in caplog.text


def test_the_command_warns_of_a_token_among_the_words_of_a_server(folder: Path) -> None:
    words = ["call", "who", "--", sys.executable, "-c", "", "--api-key=0123456789"]
    done = mcpcore_here(*words)
    assert "warning: a token seems to stand in the command line (--api-key)" in done.stderr
    assert "0123456789" not in done.stderr + done.stdout


# The keyring


@pytest.fixture
def tickets(ring: Ring) -> Ring:
    ring.kept["tickets", "my token"] = "${HOME} secret"
    return ring


def test_a_secret_of_the_keyring_is_named_by_service_and_name(tickets: Ring) -> None:
    assert keyring_secret("tickets/my token") == "${HOME} secret"
    for wrong in ("", "tickets", "tickets/", "/my token"):
        with pytest.raises(AuthorizationError, match="is named SERVICE/NAME"):
            keyring_secret(wrong)
    with pytest.raises(AuthorizationError, match="the keyring has no secret tickets/other"):
        keyring_secret("tickets/other")


def config(tmp_path: Path, value: str) -> Path:
    file = tmp_path / "mcp.json"
    entry = {"command": "run", "env": {"KEY": value}}
    file.write_text(json.dumps({"mcpServers": {"a": entry}}))
    return file


def test_a_configuration_file_refers_to_the_keyring(tickets: Ring, tmp_path: Path) -> None:
    file = config(tmp_path, "x ${keyring:tickets/my token}")
    tickets.backend.broken = True
    assert read_config(file)["a"].problem is None  # a look at it opens no keyring
    tickets.backend.broken = False
    assert load_targets(file)["a"] == StdioTarget(("run",), {"KEY": "x ${HOME} secret"})
    assert "secret" not in repr(load_targets(file))


@pytest.mark.parametrize("value", ["${keyring:tickets/other}", "${keyring:tickets}"])
def test_a_secret_that_the_keyring_has_not_is_an_error(
    tickets: Ring, tmp_path: Path, value: str
) -> None:
    with pytest.raises(BadConfig, match=r"env\.KEY: (the keyring has no|a secret of the keyring)"):
        load_targets(config(tmp_path, value), environ=os.environ)


def test_without_the_extra_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(BadConfig, match=r"mcpcore\[keyring\]"):
        load_targets(config(tmp_path, "${keyring:a/b}"))
