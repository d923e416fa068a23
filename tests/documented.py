"""What the pages of the reference say of settings, states and signals, beside the code."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, structs

from mcpcore.engine.events import Event
from mcpcore.engine.lifecycle import State, Table

UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}
"""Units of numbers on the pages."""
_PAGES = Path(__file__).parents[1] / "docs" / "reference"


def check_states(states: type[State], diagram: tuple[str, str, Table[Any, Any]]) -> None:
    """Check title, text and signals of a diagram: as the page has them; states: as their names."""
    title, text, table = diagram
    shown = set((_PAGES / "protocol.md").read_text().splitlines())
    assert {f"### {title}", text} <= shown
    for (state, signal), after in table.items():
        assert f"    {state.name} --> {after.name}: {signal.value}" in shown
    for state in states:
        assert state.value == state.name.lower().replace("_", " ")


def check_defaults(settings: Struct) -> None:
    """Check the defaults of settings: those of the page."""
    name = type(settings).__name__
    page = (_PAGES / "settings.md").read_text()
    section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    shown = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]+)`? \|", section, re.MULTILINE))
    for field in structs.fields(type(settings)):
        value = getattr(settings, field.name)
        number, _, unit = shown[field.name].replace(",", "").partition(" ")
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert float(number) * UNITS[unit] == value
        else:
            assert shown[field.name] == str(value)


def check_values(module: str) -> None:
    """Check that settings and events, which are shared, cannot be changed, and are made by name."""
    for kind in vars(import_module(module)).values():
        if isinstance(kind, type) and issubclass(kind, Struct) and kind.__module__ == module:
            shared = issubclass(kind, Event) or kind.__name__.endswith("Settings")
            assert kind.__struct_config__.frozen or not shared
            if shared:
                with pytest.raises(TypeError, match="positional"):
                    kind(None)
