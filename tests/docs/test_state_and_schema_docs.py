"""The pages on sealed state and on schemas: their programs, their links, and their tables."""

import re
from pathlib import Path

from mcpcore.engine.seal import SealRefusal
from mcpcore_transports.schema import SchemaLimits
from mcpcore_transports.schema.validation import DIALECTS
from tests.docs.blocks import ROOT

SEALED, SCHEMAS = (
    ROOT / "docs" / "explanation" / "sealed-state.md",
    ROOT / "docs" / "how-to" / "schemas.md",
)


def rows(page: Path) -> set[str]:
    """What stands in the first column of the page's tables."""
    return set(re.findall(r"^\| `([^`]+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE))


def test_every_refusal_is_explained() -> None:
    assert {reason.value for reason in SealRefusal} <= rows(SEALED)


def test_every_dialect_and_every_limit_is_listed() -> None:
    listed = rows(SCHEMAS)
    assert set(DIALECTS) <= listed
    assert set(SchemaLimits.__struct_fields__) <= listed
    text = SCHEMAS.read_text(encoding="utf-8")
    for default in (SchemaLimits().subschemas, SchemaLimits().pattern_length, SchemaLimits().steps):
        assert f"{default:,}" in text
