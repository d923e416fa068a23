"""The page on the client over HTTP has every default as it is."""

import re

import pytest

from mcpcore.engine.config import Limits
from mcpcore.http.settings import HttpClientSettings
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "how-to" / "http-client.md"
TEXT = PAGE.read_text(encoding="utf-8")
ALL = (HttpClientSettings(), HttpClientLinkSettings(), Limits(), Callbacks())
SETTINGS = {type(each).__name__: each for each in ALL}
ROW = re.compile(r"^\| [^|]+ \| `(\w+)\.(\w+)` \| ([\d,]+) ?(\w*) \|", re.MULTILINE)
UNITS = {"": 1, "s": 1, "KiB": 1024, "MiB": 1024 * 1024}


@pytest.mark.parametrize(("owner", "name", "number", "unit"), ROW.findall(TEXT))
def test_default(owner: str, name: str, number: str, unit: str) -> None:
    assert getattr(SETTINGS[owner], name) == int(number.replace(",", "")) * UNITS[unit]


def test_every_row_was_looked_at() -> None:
    rows = [line for line in TEXT.splitlines() if re.match(r"\| [^|]+\| `\w+\.", line)]
    assert len(rows) == len(ROW.findall(TEXT)) >= 20
