"""Docstrings of handlers: the description, and the lines on each parameter.

The three common styles are read: Google (``Args:``), NumPy (``Parameters`` underlined) and Sphinx
(``:param name:``).
"""

import inspect
import re

from msgspec import Struct, field

_PARAMETERS = {
    *("args", "arguments", "attributes", "keyword args", "keyword arguments"),
    *("other parameters", "parameters", "params"),
}
_DROPPED = {"raises", "return", "returns", "yield", "yields"}
"""Sections for programmers, of no use to a model or a user."""
_KEPT = {"example", "examples", "note", "notes", "references", "see also", "warning", "warnings"}
_SECTIONS = _PARAMETERS | _DROPPED | _KEPT

_SECTION = re.compile(r"([A-Z][A-Za-z ]*):")
# Strings, which re compiles at first use: most docstrings have none of these.
_RULE = r"-{3,}\s*"
_FIELD = r":(\w+)(?: +([^:]*))?:\s*(.*)"
_GOOGLE_ENTRY = r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:(?:\s+(.*)|$)"
_NUMPY_ENTRY = r"\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?"


class Docstring(Struct):
    """Parts of a docstring."""

    description: str = ""
    """Text without the sections on parameters, return values and exceptions."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Line of description for each parameter that has one."""


def parse_docstring(text: str | None) -> Docstring:
    r"""Split a docstring into its parts.

    >>> parse_docstring("Adds.\n\nArgs:\n    a: The first\n        number.\n")
    Docstring(description='Adds.', parameters={'a': 'The first number.'})
    """
    found = Docstring()
    if not text:
        return found
    lines = inspect.cleandoc(text).splitlines()
    kept: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        section, body_at = _section(lines, at)
        if section is not None:
            entry, end = _GOOGLE_ENTRY, body_at
            if body_at > at + 1:  # underlined
                entry = _NUMPY_ENTRY
                while end < len(lines) and _section(lines, end)[0] is None:
                    end += 1
            else:
                end = _indented(lines, body_at)
            if section in _PARAMETERS:
                found.parameters.update(_entries(lines[body_at:end], entry))
            elif section in _KEPT:
                kept += lines[at:end]
            at = end
        elif line.startswith(":") and (match := re.match(_FIELD, line)):
            end = _indented(lines, at + 1)
            if match[1] in ("param", "parameter", "arg", "argument") and match[2]:
                # ":param int count: ..." names the type before the name
                name = match[2].split()[-1].lstrip("*")
                found.parameters[name] = _join([match[3], *lines[at + 1 : end]])
            at = end
        else:
            kept.append(line)
            at += 1
    found.description = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
    return found


def _section(lines: list[str], at: int) -> tuple[str | None, int]:
    """Return the lower-case name of the section that begins at ``at``, and its body's start."""
    line = lines[at]
    match = _SECTION.fullmatch(line)
    name = (match[1] if match else line).strip().lower()
    if name not in _SECTIONS:
        return None, at
    if match:
        return name, at + 1
    if at + 1 < len(lines) and re.fullmatch(_RULE, lines[at + 1]):
        return name, at + 2
    return None, at


def _indented(lines: list[str], at: int) -> int:
    """Return the end of the indented lines that begin at ``at``, blank lines between included."""
    end = at
    while at < len(lines) and (not lines[at] or lines[at][0].isspace()):
        at += 1
        if lines[at - 1].strip():
            end = at
    return end


def _entries(lines: list[str], form: str) -> dict[str, str]:
    """Return the entries of a section: its least indented lines, with the lines after each."""
    pattern = re.compile(form)
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    least = min(indents, default=0)
    texts: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        match = pattern.fullmatch(line.strip())
        if match and len(line) - len(line.lstrip()) == least:
            current = [match[2]] if pattern.groups > 1 and match[2] else []
            texts.update((name.strip(), current) for name in match[1].split(","))
        else:
            current.append(line)
    return {name: text for name, parts in texts.items() if (text := _join(parts))}


def _join(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines if line.strip())
