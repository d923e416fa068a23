"""Blocks of content say what they are, by the word that stands on the wire."""

import msgspec
import pytest

from mcpcore.spec.types import content

BLOCKS = [
    each
    for each in vars(content).values()
    if isinstance(each, type) and issubclass(each, msgspec.Struct) and each.__struct_config__.tag
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: str(block.__name__))
def test_the_type_of_a_block(block: type[msgspec.Struct]) -> None:
    assert block.type == block.__struct_config__.tag  # type: ignore[attr-defined]
    assert "type" not in block.__struct_fields__


def test_there_are_some() -> None:
    assert len(BLOCKS) == 7
