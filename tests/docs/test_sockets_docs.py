"""The page on sockets tells the truth: its programs run, and its defaults are the defaults."""

import re

import pytest

from mcpcore.engine.config import Limits
from mcpcore_transports.stream.settings import ConnectionSettings, SocketSettings
from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "how-to" / "sockets.md"
CLASSES = {type(each).__name__: each for each in (SocketSettings(), ConnectionSettings(), Limits())}
ROW = re.compile(r"^\| [^|]+ \| `(\w+)\.(\w+)` \| ([\d,.]+) ?(\w*) \|$", re.MULTILINE)
UNITS = {"": 1, "s": 1, "MiB": 1024 * 1024}
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("owner", "name", "number", "unit"), ROWS)
def test_default(owner: str, name: str, number: str, unit: str) -> None:
    assert getattr(CLASSES[owner], name) == float(number.replace(",", "")) * UNITS[unit]


def test_every_bound_of_sockets_has_a_row() -> None:
    shown = {name for owner, name, _, _ in ROWS if owner == "SocketSettings"}
    others = {"connection", "insecure", "users", "mode", "authenticate"}
    assert shown == {*SocketSettings.__struct_fields__} - others
