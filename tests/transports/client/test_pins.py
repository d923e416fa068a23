"""Pins in a file, and the commands that list, compare and approve them."""

import json
from pathlib import Path
from typing import Any

import pytest

from mcpcore.errors import BadConfig
from mcpcore.policy.differences import ServerDescription
from mcpcore_transports.client.pins import read_pins, write_pins
from tests.command import mcpcore_here
from tests.warm import PYTHON

SERVER = """
import sys
from mcpcore import Server, run
server = Server("s", instructions="Be kind.")
server.tool(lambda: "x", name="add", description=sys.argv[1])
for name in sys.argv[2:]:
    server.tool(lambda: "x", name=name)
run(server)
"""
ONE = ServerDescription(tools={"add": {"name": "add"}})

USING = {"call": ("add", "s"), "list": ("tools", "s")}
"""Words of commands that talk to the server."""


def test_a_file_of_pins(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "pins.json"
    assert read_pins(file) == {}
    write_pins(file, "one", ONE)
    write_pins(file, "two", ServerDescription(instructions="x"))
    assert read_pins(file) == {"one": ONE, "two": ServerDescription(instructions="x")}
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["pins.json"]
    servers = json.loads(file.read_text())["servers"]
    assert servers == {"one": {"tools": {"add": {"name": "add"}}}, "two": {"instructions": "x"}}


@pytest.mark.parametrize("empty", [{}, {"instructions": None, "prompts": {}, "resources": {}}])
def test_empty_members_may_be_in_a_file(empty: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "pins.json"
    file.write_text(json.dumps({"servers": {"one": {"tools": ONE.tools, **empty}}}))
    assert read_pins(file) == {"one": ONE}


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "cannot be read"), ('{"version": 2}', "version"), ('{"servers": 1}', "cannot be read")],
)
def test_a_file_that_cannot_be_used(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "pins.json"
    file.write_text(text)
    with pytest.raises(BadConfig, match=says):
        read_pins(file)
    with pytest.raises(BadConfig, match=says):
        write_pins(file, "one", ONE)
    assert file.read_text() == text
    done = mcpcore_here("pins", "list", "--pins", str(file))
    assert done.returncode == 2
    assert says in done.stderr


def test_the_commands(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    options: dict[str, Any] = {"args": ["server.py", "Adds."], "cwd": str(tmp_path)}
    config = tmp_path / "mcp.json"

    def run(*words: str) -> tuple[int, str]:
        server = {"command": PYTHON[0], **options, "args": [*PYTHON[1:], *options["args"]]}
        config.write_text(json.dumps({"mcpServers": {"s": server}}))
        done = mcpcore_here(*words, "--config", str(config), cwd=tmp_path)
        return done.returncode, done.stdout + done.stderr

    def pins(*words: str) -> tuple[int, str]:
        return run("pins", *words)

    status, said = pins("diff", "s")
    assert status == 1
    assert "no pins of 's'" in said
    status, said = pins("approve", "s")
    assert status == 0
    assert "/tools/add" in said
    for command, words in USING.items():
        status, said = run(command, *words)
        assert (status, "approved" in said) == (0, False)
    options["args"] = ["server.py", "Adds!"]
    status, said = pins("diff", "s", "--json")
    assert status == 1
    (difference,) = json.loads(said)["differences"]
    assert (difference["kind"], difference["place"]) == ("risky", "/tools/add/description")
    warning = "s is not as approved: risky /tools/add/description: 'Adds.' became 'Adds!'"
    for command, words in USING.items():
        status, said = run(command, *words)
        assert (status, said.count("warning:"), warning in said) == (0, 1, True)
    options["args"].append("aaa")
    status, said = run("list", "tools", "s")
    assert f"{warning} (and 1 more: mcpcore pins diff)" in " ".join(said.split()), "gravest first"
    status, said = pins("list", "--json")
    assert status == 0
    counts = {"server": "s", "tools": 1, "prompts": 0, "templates": 0, "skills": 0}
    assert json.loads(said) == {"file": str(tmp_path / "pins.json"), "servers": [counts]}
