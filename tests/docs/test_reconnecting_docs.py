"""The page on reconnecting tells the truth."""

import re

from mcpcore.engine.reconnection import ReconnectSettings
from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "how-to" / "features" / "reconnecting.md"
ROW = re.compile(r"^\| `(\w+)` \| ([\d.,]+)(?: s)? \|", re.MULTILINE)


def test_every_setting_is_named_with_its_default() -> None:
    named = {name: float(value.replace(",", "")) for name, value in ROW.findall(PAGE.read_text())}
    defaults = ReconnectSettings()
    assert named == {name: getattr(defaults, name) for name in defaults.__struct_fields__}
