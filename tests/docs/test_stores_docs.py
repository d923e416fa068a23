"""The page on stores tells the truth."""

from msgspec import structs

from mcpcore_transports.stores.base import StoreSettings
from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "how-to" / "stores.md"


def test_every_setting_is_told_of() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [
        field.name for field in structs.fields(StoreSettings) if f"`{field.name}`" not in text
    ] == []
