"""The page reference/settings.md: each class of settings with names, defaults and meanings."""

import re
from collections.abc import Iterator
from typing import Any

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from mcpcore.spec.revisions import REVISIONS
from tests.reference.sources import attributes, classes, summary, table

NAME = "settings.md"
HEAD = """# Settings

Each class of settings is a frozen struct: `HttpSettings(max_body=1024 * 1024)` changes one setting
and keeps the others. [Limits](limits.md) says what happens beyond the bounds among them, and how
the command takes them. Times are in seconds, sizes in bytes, unless a setting says otherwise.
`ResourceServer` takes the settings of `ResourceRules` by name.
"""
NOT_FOR_USERS = ("mcpcore.spec", "mcpcore_transports.commands")
_SETTINGS = re.compile(
    r"\w*(Settings|Limits|Options)$|Config$|Callbacks$|(Resource|Proof)Rules$"
    r"|(Issuer|ClientIdentity|DpopKey|Upstream)$"
    r"|(Code|ClientCredentials|Assertion|Enterprise)Grant$"
)


def render() -> str:
    """Return the page."""
    lines = [HEAD]
    for each in classes(Struct):
        if _SETTINGS.match(each.__name__) and not each.__module__.startswith(NOT_FOR_USERS):
            lines += [f"## {each.__name__}", "", f"`{each.__module__}`. {summary(each)}", ""]
            lines += table(["Setting", "Default", "Meaning"], _rows(each))
    return "\n".join(lines)


def _rows(cls: type[Struct]) -> Iterator[list[str]]:
    texts, names, defaults = attributes(cls), cls.__struct_fields__, cls.__struct_defaults__
    required = (NODEFAULT,) * (len(names) - len(defaults))
    for name, default in zip(names, (*required, *defaults), strict=True):
        text = texts.get(name, "")
        counts_bytes = "bytes" in text.lower() or name.endswith(("size", "bytes", "body"))
        yield [f"`{name}`", _default(default, counts_bytes), text]


def _default(value: Any, counts_bytes: bool) -> str:
    if value is NODEFAULT:
        return "required"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _bytes(value) if counts_bytes else f"{value:,}"
    if value == REVISIONS:
        return "all"
    if isinstance(value, frozenset) and value:
        return f"`{{{', '.join(map(repr, sorted(value)))}}}`"
    made = getattr(value, "factory", None)
    if made is not None and made.__name__ == "<lambda>":
        value = made()
        if not isinstance(value, Struct):  # such as a random key
            return "made anew"
    elif made is not None:
        return f"`{made.__name__}()`"
    if isinstance(value, Struct):
        return f"`{_struct(value)}`"
    text = getattr(value, "__name__", None) or getattr(value, "name", None) or repr(value)
    return f"`{text}`".replace("|", "\\|")


def _struct(value: Struct) -> str:
    """Return a struct with the members that are not their default."""
    kind, shown = type(value), []
    for field in fields(kind):
        own, default = getattr(value, field.name), field.default
        if field.default_factory is not NODEFAULT:
            default = field.default_factory()
        if own != default:
            text = _struct(own) if isinstance(own, Struct) else repr(own)
            shown.append(f"{field.name}={text}")
    return f"{kind.__name__}({', '.join(shown)})"


def _bytes(value: float) -> str:
    for size, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= size and value % size == 0:
            return f"{int(value) // size} {unit}"
    return f"{value:,}"
