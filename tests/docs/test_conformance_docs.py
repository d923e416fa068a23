"""The page on the conformance kit tells the truth: its program runs, and it names what there is."""

import re
import sys
from pathlib import Path

from mcpcore_conformance.commands.choice import _Declared
from mcpcore_conformance.kit.model import Binding, Verdict
from mcpcore_conformance.reports.formats import FORMATS
from mcpcore_conformance.run.expected import read_expected
from mcpcore_conformance.run.registry import all_cases
from mcpcore_transports.commands.options import Opt
from mcpcore_transports.commands.output import Exit
from tests.command import mcpcore_here
from tests.docs.blocks import ROOT, blocks, programs

PAGE = ROOT / "docs" / "how-to" / "conformance.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_option_is_named() -> None:
    options = {
        name
        for attribute, declared in _Declared.__annotations__.items()
        for meta in getattr(declared, "__metadata__", ())
        for option in [meta.of(attribute) if isinstance(meta, Opt) else meta]
        for name in (option.default, *(option.param_decls or ()))
        if str(name).startswith("--")
    }
    assert len(options) > 10
    shown = {*re.findall(r"--[a-z-]+", TEXT)} | {"--verbose"}
    assert options <= shown


def test_verdicts_formats_transports_and_statuses_are_those_that_there_are() -> None:
    rows = {*re.findall(r"^\| `?([\w -]+?)`? \| ", TEXT, re.MULTILINE)}
    assert {*Verdict} <= rows
    assert {*FORMATS} <= rows
    assert {str(int(each)) for each in Exit} <= rows
    words = {*re.findall(r"`([a-z]+)`", TEXT)}
    assert {*Binding} - {Binding.CORE, Binding.STDIO} <= words


def test_the_protected_server_of_the_page_is_one(tmp_path: Path, free_tcp_port: int) -> None:
    (program,) = [each for each in programs(PAGE) if "my_server.py" in each.files]
    server = tmp_path / "my_server.py"
    server.write_text(program.files["my_server.py"])
    url = f"http://127.0.0.1:{free_tcp_port}/mcp"
    pages = ("basic/authorization", "rfc6750", "rfc9728")
    chosen = (word for page in pages for word in ("--only", page))
    command = (sys.executable, str(server), str(free_tcp_port))
    words = ("--protected", "--strict", "--revision", "2026-07-28", *chosen, url, "--", *command)
    done = mcpcore_here("conformance", "server", *words)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_entry_of_known_failures_is_one() -> None:
    (entry,) = [block.text for block in blocks(PAGE) if block.kind == "toml"]
    (expected,) = read_expected(entry, all_cases())
    assert expected.transports == ("http",)
