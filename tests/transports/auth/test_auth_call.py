"""Commands that connect with a token: a stored one, one of `--login`, one that a file describes."""

import io
import json
import os
from functools import partial
from pathlib import Path
from typing import Any, TextIO
from urllib.request import ProxyHandler, build_opener

import anyio
import anyio.to_thread
import pytest

from mcpcore import ApiKeyScheme, HttpServerSettings, ServeSettings
from tests.clock import PATIENCE, patience, until
from tests.command import command_here, mcpcore_here
from tests.transports.auth.auth_stage import MACHINE, Stage, notes, stage
from tests.transports.auth.test_auth_commands import visit
from tests.transports.served import served

pytestmark = pytest.mark.anyio

ADD = ("call", "add", "a=1", "b=1")
HELP = "to sign in, give --login"


class Terminal:
    """Commands of one user, whose files are in a folder of the test; they run in a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def run(
        self,
        *words: str,
        stdin: TextIO | None = None,
        stderr: io.StringIO | None = None,
        secret: str | None = None,
    ) -> tuple[int, str, str]:
        places = {"XDG_STATE_HOME": str(self.folder), "HOME": str(self.folder), "NO_PROXY": "*"}
        if secret is not None:
            places["NOTES_SECRET"] = secret
        command = partial(command_here, words, places, cwd=self.folder, stdin=stdin, stderr=stderr)
        with patience():
            done = await anyio.to_thread.run_sync(command)
        return done.returncode, done.stdout, done.stderr

    async def add(self, *words: str, secret: str | None = None) -> None:
        code, said, told = await self.run(*ADD, *words, secret=secret)
        assert (code, said) == (0, "2\n"), told

    async def refused(self, *words: str, status: int, told: str = HELP) -> None:
        code, _, said = await self.run(*ADD, *words)
        assert (code, told in said) == (status, True), said

    async def sign_in(self, *words: str, paste: bool) -> tuple[int, str]:
        """Run a command that sends a person to a URL, who consents there."""
        reader, writer = os.pipe()
        told, ends = io.StringIO(), list[tuple[int, str, str]]()

        async def run() -> None:
            with os.fdopen(reader) as stdin:
                way = ("--login", "--no-browser")
                ends.append(await self.run(*words, *way, stdin=stdin, stderr=told))

        with os.fdopen(writer, "w") as stdin:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                await until(lambda: ends or "Then paste" in told.getvalue())
                assert not ends, ends
                url = next(word for word in told.getvalue().split() if "/authorize?" in word)
                end = await anyio.to_thread.run_sync(visit, url)
                if paste:
                    stdin.write(f"{end}\n")
                    stdin.flush()
                else:  # as a browser of this machine does
                    await anyio.to_thread.run_sync(come_back, end)
        ((code, said, _),) = ends
        return code, said


def come_back(url: str) -> None:
    with build_opener(ProxyHandler({})).open(url, timeout=PATIENCE) as page:
        assert b"You can close this window" in page.read()


@pytest.mark.parametrize("paste", [True, False])
async def test_a_call_signs_in_and_others_use_the_token(paste: bool, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    async with stage(notes()) as on:
        assert await terminal.sign_in(*ADD, on.url, paste=paste) == (0, "2\n")
        grants = on.authority.grants()
        for words in ([*ADD, on.url], ["list", "tools", on.url], [*ADD, "--login", on.url]):
            code, said, told = await terminal.run(*words)
            assert (code, "authorize" in told) == (0, False), told
        assert on.authority.grants() == grants == ["authorization_code"]
        code, said, _ = await terminal.run("auth", "status", on.url, "--json")
        assert (code, len(json.loads(said)["tokens"])) == (0, 1)
        on.expire()
        await terminal.add(on.url)
        assert on.authority.grants() == ["authorization_code", "refresh_token"]


async def test_a_call_asks_for_no_more_than_its_ceiling(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    async with stage(notes(), scopes=("read",)) as on:
        words = (*ADD, "--ceiling", "read", on.url)
        assert (await terminal.sign_in(*words, paste=True))[0] == 0
        on.required = frozenset({"write"})
        for login in ([], ["--login"]):
            given = (*login, "--ceiling", "read", on.url)
            await terminal.refused(*given, status=1, told="scopes that are not allowed: write")
        assert on.authority.grants() == ["authorization_code"]


async def test_a_probe_signs_in_for_all_of_its_connections(tmp_path: Path) -> None:
    async with stage(notes()) as on:
        words = ["probe", "--json", "--revision", "2025-11-25", on.url]
        code, said = await Terminal(tmp_path).sign_in(*words, paste=True)
    assert (code, json.loads(said)["revision"]) == (0, "2025-11-25")
    assert on.authority.grants() == ["authorization_code"]


@pytest.mark.parametrize("binding", ["http", "ws"])
async def test_nobody_is_asked_without_login(binding: str, tmp_path: Path) -> None:
    """There is no token, or one that has come to its end: the error says what helps."""
    terminal = Terminal(tmp_path)
    async with stage(notes(), binding) as on:
        await terminal.refused(on.url, status=3)
        assert on.authority.grants() == []
        await terminal.sign_in(*ADD, on.url, paste=True)
        await terminal.add(on.url)
        on.broken = True
        await terminal.refused(on.url, status=1)
        await terminal.refused("--account", "other", on.url, status=3)


@pytest.mark.parametrize("words", [(*ADD, "--login"), ("auth", "login")])
async def test_a_server_with_keys_alone_is_told_of_and_asked_for_no_registration(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    link = HttpServerSettings(authenticate=ApiKeyScheme([]))
    async with served(notes(), settings=ServeSettings(http_link=link)) as on:
        code, _, told = await Terminal(tmp_path).run(*words, on.url)
    assert code == 1
    assert "asks for bearer of the realm API keys and names no authorization server: give" in told


async def test_a_token_of_the_command_line_goes_before_a_stored_one(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    async with stage(notes()) as on:
        await terminal.sign_in(*ADD, on.url, paste=True)
        count = len(on.tokens)
        code, _, told = await terminal.run(*ADD, "--header", "Authorization: Bearer x.y", on.url)
        assert (code, set(on.tokens[count:])) == (3, {"x.y"}), told


def configured(terminal: Terminal, on: Stage, **oauth: Any) -> None:
    file = terminal.folder / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"notes": {"url": on.url, "oauth": oauth}}}))


async def test_a_configured_client_gets_a_token_for_itself(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    async with stage(notes()) as on:
        secret, client = "${NOTES_SECRET}", {"clientId": MACHINE.client_id}
        configured(terminal, on, grant="client_credentials", clientSecret=secret, **client)
        await terminal.add("notes", secret="machine-secret")
        assert on.authority.grants() == ["client_credentials"]
        await terminal.refused("notes", status=2, told="variable NOTES_SECRET is not set")
        code, _, told = await terminal.run(
            *ADD, "notes", "--header", "Authorization: Bearer x.y", secret="wrong"
        )
        assert (code, on.tokens[-1]) == (3, "x.y"), told


async def test_a_call_uses_and_renews_a_token_of_the_program(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    async with stage(notes()) as on:
        words = ["--client-id", MACHINE.client_id, "--client-secret-env", "NOTES_SECRET"]
        words += ["--client-credentials", "--issuer", on.authority.settings.issuer]
        login = ["auth", "login", on.url, *words]
        assert (await terminal.run(*login, secret="machine-secret"))[0] == 0
        for count in (1, 2):
            await terminal.add(on.url)
            assert on.authority.grants() == ["client_credentials"] * count
            on.expire()
        assert await terminal.sign_in(*ADD, on.url, paste=True) == (0, "2\n")
        assert on.authority.grants()[2:] == ["authorization_code"]
        for words in ([on.url], ["--login", on.url]):  # that of the person goes before the other
            await terminal.add(*words)
        assert len(set(on.tokens[-2:])) == 1
        assert len(on.authority.grants()) == 3


async def test_a_person_signs_in_for_a_configured_server_with_login(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    async with stage(notes()) as on:
        configured(terminal, on, scopes=["more"], account="work")
        await terminal.refused("notes", status=1)
        await terminal.refused("notes", status=1, told="scopes that are wanted: more")
        assert await terminal.sign_in(*ADD, "notes", paste=True) == (0, "2\n")
        await terminal.add("notes")
        _, said, _ = await terminal.run("auth", "status", on.url, "--account", "work", "--json")
        assert json.loads(said)["tokens"][0]["scopes"] == ["more", "offline_access"]
        await terminal.add(on.url, "--account", "work")


@pytest.mark.parametrize("words", [["call", "x"], ["list"], ["probe"]])
def test_no_token_goes_where_it_could_be_read(words: list[str]) -> None:
    done = mcpcore_here(*words, "--login", "http://mcp.example/mcp")
    assert (done.returncode, "it is not an https URL" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("command", ["call", "list", "probe"])
def test_commands_that_connect_have_examples_of_a_sign_in(command: str) -> None:
    done = mcpcore_here(command, "--help")
    assert "--login" in done.stdout.partition("Options:")[0].partition("Examples:")[2]
