"""The page on WebSocket: programs, links, and every default as it is."""

import re

import pytest

from mcpcore.engine.config import Limits
from mcpcore_transports.stream.settings import ConnectionSettings
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "how-to" / "websocket.md"
TEXT = PAGE.read_text(encoding="utf-8")
SETTINGS = {
    type(each).__name__: each for each in (WebSocketSettings(), ConnectionSettings(), Limits())
}
ROW = re.compile(r"^\| [^|]+ \| `(\w+)\.(\w+)` \| ([\d,]+) ?(\w*) \|", re.MULTILINE)
UNITS = {"": 1, "s": 1, "KiB": 1024, "MiB": 1024 * 1024}


@pytest.mark.parametrize(("owner", "name", "number", "unit"), ROW.findall(TEXT))
def test_default(owner: str, name: str, number: str, unit: str) -> None:
    assert getattr(SETTINGS[owner], name) == int(number.replace(",", "")) * UNITS[unit]


def test_every_row_of_a_setting_was_looked_at() -> None:
    rows = [line for line in TEXT.splitlines() if re.match(r"\| [^|]+\| `\w+\.\w+`", line)]
    assert len(rows) == len(ROW.findall(TEXT)) > 10
