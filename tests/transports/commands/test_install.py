"""`mcpcore install`: what is printed, what is written, and that nothing else in a file is lost."""

import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from mcpcore import BadConfig, HttpTarget, SseTarget, StdioTarget, connect
from mcpcore_transports.client.config import add_server, load_targets, read_config
from mcpcore_transports.commands.install import _FILES
from tests.command import Done, mcpcore_here
from tests.transports.serving import ROOT, serving

MODULE = """
import os
from mcpcore.service import Server

server = Server("forecasts", version="1")
key = os.environ.get("API_KEY")
if os.path.exists("key-needed") and not key:
    raise KeyError("API_KEY")


@server.tool
def forecast(city: str) -> str:
    return f"{city} {key} {os.getcwd()}"
"""
CLIENTS = {
    ("claude", "--user"): (".config/Claude/claude_desktop_config.json", "mcpServers", None),
    ("claude", "--project"): (".mcp.json", "mcpServers", "stdio"),
    ("cursor", "--user"): (".cursor/mcp.json", "mcpServers", None),
    ("cursor", "--project"): (".cursor/mcp.json", "mcpServers", None),
    ("vscode", "--user"): (".config/Code/User/mcp.json", "servers", "stdio"),
    ("vscode", "--project"): (".vscode/mcp.json", "servers", "stdio"),
}
"""By client and place: the file, below home or project; its table; the type, if it says one."""
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="where the files are on Linux")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with a server, beside the home of its user."""
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "home").mkdir()
    (project / "weather.py").write_text(MODULE)
    return project


def install(folder: Path, *words: str, **changes: Any) -> Done:
    home = str(folder.parent / "home")
    return mcpcore_here("install", *words, cwd=folder, HOME=home, **changes)


def entry(folder: Path, **more: Any) -> dict[str, Any]:
    """What starts the server, whoever does."""
    args = ["-P", "-m", "mcpcore_transports.commands.main", "serve", "weather:server", "--stdio"]
    return {"command": sys.executable, "args": [*args, "--cwd", str(folder)], **more}


@pytest.mark.share(3)
@LINUX
@pytest.mark.parametrize(("client", "place"), CLIENTS)
def test_it_is_printed_for_each_client(client: str, place: str, folder: Path) -> None:
    file, table, type_ = CLIENTS[client, place]
    done = install(folder, "weather:server", "--client", client, place)
    assert done.returncode == 0, done.stderr
    wanted = entry(folder) if type_ is None else {"type": type_, **entry(folder)}
    assert json.loads(done.stdout) == {table: {"forecasts": wanted}}
    path = file if place == "--project" else str(folder.parent / "home" / file)
    assert re.fullmatch(rf"for {re.escape(path)} \([\w ]+\); --write puts it there\n", done.stderr)
    assert not (folder / file).exists()
    assert list((folder.parent / "home").iterdir()) == []


@LINUX
@pytest.mark.parametrize(
    ("client", "file"),
    [("claude", "claude_desktop_config"), ("cursor", ".cursor"), ("vscode", "for .vscode")],
)
def test_each_has_a_usual_place(client: str, file: str, folder: Path) -> None:
    assert file in install(folder, "weather", "--client", client).stderr


@pytest.mark.parametrize(
    ("platform", "client", "path"),
    [
        ("darwin", "claude", "Library/Application Support/Claude/claude_desktop_config.json"),
        ("darwin", "vscode", "Library/Application Support/Code/User/mcp.json"),
        ("win32", "claude", "Roaming/Claude/claude_desktop_config.json"),
        ("win32", "vscode", "Roaming/Code/User/mcp.json"),
        ("win32", "cursor", ".cursor/mcp.json"),
        ("freebsd13", "cursor", ".cursor/mcp.json"),
    ],
)
def test_files_of_users_on_other_systems(
    platform: str, client: Any, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path / "Roaming"))
    assert _FILES[client, False].path == tmp_path / path


def test_names_variables_and_folders(folder: Path) -> None:
    deeper = folder / "deeper"
    deeper.mkdir()
    (deeper / "climate.py").write_text(
        MODULE.replace("server =", "service =").replace("@server", "@service")
    )
    words = ["--cwd", "deeper", "--name", "my own", "--env", "API_KEY=a=b", "--env", "OURS"]
    done = install(folder, "climate:service", "--client", "cursor", *words, OURS="here")
    [(name, found)] = json.loads(done.stdout)["mcpServers"].items()
    assert name == "my own"
    assert found["args"][3:] == ["serve", "climate:service", "--stdio", "--cwd", str(deeper)]
    assert found["env"] == {"API_KEY": "a=b", "OURS": "here"}


@pytest.mark.parametrize(
    ("words", "client", "place", "made"),
    [
        ([], "cursor", "--user", {"url": "{}"}),
        (
            ["--header", "X-Team: blue"],
            "cursor",
            "--user",
            {"url": "{}", "headers": {"X-Team": "blue"}},
        ),
        ([], "vscode", "--user", {"type": "http", "url": "{}"}),
        ([], "claude", "--project", {"type": "http", "url": "{}"}),
        (["sse+"], "vscode", "--project", {"type": "sse", "url": "{}"}),
    ],
)
def test_a_server_that_runs_elsewhere(
    words: list[str], client: str, place: str, made: dict[str, Any], folder: Path
) -> None:
    url = "https://mcp.example.com/mcp"
    sse, words = ("sse+", []) if words == ["sse+"] else ("", words)
    done = install(folder, sse + url, "--client", client, place, *words)
    [servers] = json.loads(done.stdout).values()
    assert servers == {"mcp.example.com": {**made, "url": url}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["https://a.test/mcp", "--client", "claude"], "Claude Desktop .* in its settings"),
        (["ws://a.test/mcp", "--client", "cursor"], "Cursor reaches servers by http"),
        (["https://a.test/mcp", "--client", "cursor", "--env", "A=b"], "--env is for servers that"),
        (["https://a.test/mcp", "--client", "cursor", "--cwd", "."], "--cwd is for servers that"),
        (["weather:server", "--client", "cursor", "--header", "A: b"], "--header is for URLs"),
        (["weather:server", "--client", "cursor", "--cwd", "no"], "there is no directory .*no"),
        (["weather:server", "--client", "cursor", "--name", " "], "a name that can be seen"),
        (["weather:server", "--client", "cursor", "--env", "=b"], "is no variable"),
        (["weather:server", "--client", "emacs"], "'emacs' is not one of"),
    ],
)
def test_what_cannot_be(words: list[str], said: str, folder: Path) -> None:
    done = install(folder, *words, "--write")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(said, done.stderr)
    assert not (folder.parent / "home" / ".cursor").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere:server", "there is no module 'nowhere'"),
        ("weather:nothing", "the module 'weather' has no 'nothing'"),
        ("weather:key", "'key' of the module 'weather' is a NoneType, not a Server"),
        ("broken:server", "'broken' cannot be imported: ZeroDivisionError"),
    ],
)
def test_a_server_that_does_not_load_is_not_written(name: str, said: str, folder: Path) -> None:
    (folder / "broken.py").write_text("1 / 0")
    done = install(folder, name, "--client", "vscode", "--write")
    assert done.returncode == 3
    assert said in done.stderr
    assert not (folder / ".vscode").exists()


def test_it_is_started_as_it_will_be(folder: Path) -> None:
    """With its variables, and without those that happen to be set here."""
    (folder / "key-needed").touch()
    words = ["weather:server", "--client", "cursor"]
    assert "KeyError: 'API_KEY'" in install(folder, *words, API_KEY="here").stderr
    assert install(folder, *words, "--env", "API_KEY=k").returncode == 0


@pytest.mark.share(3)
@pytest.mark.parametrize(("client", "place"), CLIENTS)
def test_what_is_written_can_be_used(client: str, place: str, folder: Path) -> None:
    file = folder / "a" / "b" / "mcp.json"
    words = ["weather:server", "--client", client, place, "--env", "API_KEY=k"]
    done = install(folder, *words, "--write", "--file", str(file))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.startswith(f"forecasts is added to {file}; start ")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_targets(file) == {
        "forecasts": StdioTarget((sys.executable, *entry(folder)["args"]), {"API_KEY": "k"})
    }
    asked = ("call", "forecast", "city=Bergen", "--config", str(file), "forecasts")
    called = mcpcore_here(*asked, cwd=Path("/"))
    assert (called.returncode, called.stdout) == (0, f"Bergen k {folder}\n"), called.stderr


@LINUX
def test_it_is_found_by_name_where_it_was_written(folder: Path) -> None:
    assert install(folder, "weather", "--client", "vscode", "--write").returncode == 0
    listed = mcpcore_here("list", "tools", "forecasts", cwd=folder)
    assert "forecast" in listed.stdout
    assert "forecasts" in mcpcore_here("servers", cwd=folder).stdout


def test_urls_are_read_as_they_were_meant(folder: Path) -> None:
    file = str(folder / "mcp.json")
    for url in ("https://a.test/mcp", "sse+https://b.test/sse"):
        done = install(folder, url, "--client", "vscode", "--write", "--file", file)
        assert done.returncode == 0
    assert load_targets(file) == {
        "a.test": HttpTarget("https://a.test/mcp"),
        "b.test": SseTarget("https://b.test/sse"),
    }


BEFORE = """{
\t"größe": [1, 2.5, 1e3, -0.0, 12345678901234567890],
\t"mcpServers": {"x": {"command": "y", "a": null}},
\t"z": "\\u2028"
}"""


def test_an_empty_file_is_one_without_servers(folder: Path) -> None:
    file = folder / "config.json"
    file.touch(mode=0o640)
    assert add_server(file, "mcpServers", "new", {"command": "c"}) == "added"
    assert json.loads(file.read_text()) == {"mcpServers": {"new": {"command": "c"}}}
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert add_server(str(file), "mcpServers", "new", {"command": "c"}) == ""
    assert add_server(file, "mcpServers", "new", {"command": "d"}, replace=True) == "replaced"


def test_all_else_is_kept(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(BEFORE)
    file.chmod(0o640)
    assert add_server(file, "mcpServers", "new", {"command": "c"})
    after = json.loads(file.read_text())
    before = json.loads(BEFORE)
    assert after["mcpServers"].pop("new") == {"command": "c"}
    assert after == before
    assert list(after) == list(before)
    assert "größe" in file.read_text()
    assert '\n\t"z"' in file.read_text()  # indented as it was
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    backup = folder / "config.json.bak"
    assert backup.read_text() == BEFORE
    assert stat.S_IMODE(backup.stat().st_mode) == 0o640
    assert sorted(each.name for each in folder.iterdir()) == [
        "config.json",
        "config.json.bak",
        "weather.py",
    ]


@pytest.mark.parametrize("before", [None, "{}", '{"other": 1}', '{"mcpServers": {}}', "\ufeff{}"])
def test_a_table_is_made_where_there_is_none(before: str | None, folder: Path) -> None:
    file = folder / "config.json"
    if before is not None:
        file.write_text(before, encoding="utf-8")
    add_server(file, "mcpServers", "new", {"command": "c"})
    assert list(read_config(file)) == ["new"]
    assert ("other" in file.read_text()) is ("other" in (before or ""))
    assert (folder / "config.json.bak").exists() is (before is not None)


def test_a_link_stays_a_link(folder: Path) -> None:
    real = folder / "real.json"
    real.write_text("{}")
    link = folder / "link.json"
    link.symlink_to(real)
    add_server(link, "mcpServers", "new", {"command": "c"})
    assert link.is_symlink()
    assert list(read_config(real)) == ["new"]


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ('{\n// mine\n"mcpServers": {}}', "not JSON: .*line 2, column 1"),
        ('{"mcpServers": {}, /* mine */ "a": 1}', "not JSON"),
        ('{"mcpServers": {},}', "not JSON"),
        ('{"a": {"b": 1, "b": 2}}', "the member 'b' is there twice"),
        ("[]", "expected an object"),
        ('{"mcpServers": []}', "expected an object"),
        ('{"a": 1e999}', "cannot be written: out of range"),
        ('{"a": "\\ud800"}', "cannot be written: .*surrogates"),
        (b"\xff", "expected UTF-8"),
        (b" " * (4 * 1024 * 1024 + 1), "larger than"),
        ('{"mcpServers": {"new": {"command": "other"}}}', "has another server 'new'"),
    ],
)
def test_what_would_be_lost_is_not_touched(before: str | bytes, said: str, folder: Path) -> None:
    file = folder / "config.json"
    data = before if isinstance(before, bytes) else before.encode()
    file.write_bytes(data)
    names = sorted(folder.iterdir())
    with pytest.raises(BadConfig, match=said):
        add_server(file, "mcpServers", "new", {"command": "c"})
    assert file.read_bytes() == data
    assert sorted(folder.iterdir()) == names


def test_where_nothing_can_be_written(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(BadConfig, match="cannot be written: "):
        add_server(folder / "file" / "mcp.json", "servers", "new", {"command": "c"})
    (folder / "full").mkdir()
    file = folder / "full" / "mcp.json"
    file.write_text("{}")
    (folder / "full" / "mcp.json.bak").mkdir()  # what it was cannot be kept
    with pytest.raises(BadConfig, match="cannot be written: is a directory"):
        add_server(file, "servers", "new", {"command": "c"})
    assert file.read_text() == "{}"
    assert len(list((folder / "full").iterdir())) == 2


def test_another_server_of_that_name_stays_unless_it_is_to_go(folder: Path) -> None:
    words = ["weather:server", "--client", "vscode", "--write"]
    file = folder / ".vscode" / "mcp.json"
    assert install(folder, *words).returncode == 0
    first = file.read_text()
    again = install(folder, *words)
    assert (again.returncode, again.stderr) == (0, "forecasts is in .vscode/mcp.json already\n")
    other = install(folder, *words, "--env", "API_KEY=k")
    assert other.returncode == 2
    assert "has another server 'forecasts'" in other.stderr
    assert "--force replaces a server" in other.stderr
    assert file.read_text() == first
    assert install(folder, *words, "--env", "API_KEY=k", "--force").returncode == 0
    assert json.loads(file.read_text())["servers"]["forecasts"]["env"] == {"API_KEY": "k"}
    assert (folder / ".vscode" / "mcp.json.bak").read_text() == first


# What the entry relies on


@pytest.mark.anyio
async def test_serving_from_another_directory(folder: Path) -> None:
    relative = os.path.relpath(folder, ROOT)  # noqa: ASYNC240
    words = ["--http", "127.0.0.1:0", "--workers", "2", "--cwd", relative]
    async with serving(*words, app="weather:server") as made, connect(made.url) as client:
        result = await client.call_tool("forecast", {"city": "Bergen"})
        assert result.text == f"Bergen None {folder}"


def test_a_directory_that_is_none() -> None:
    done = mcpcore_here("serve", "weather:server", "--stdio", "--cwd", "/nowhere/at/all")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--cwd: /nowhere/at/all: No such file or directory" in done.stderr
