"""URI templates, RFC 6570: expansion, and matching that cannot be tricked.

Levels 1 to 3, and of level 4 ``{path*}`` and ``{/path*}``: one variable for the rest of a path.

Matching is the inverse of expansion, which the RFC leaves open.  The choices made here:

- a variable of ``{x}``, ``{+x}`` stands for at least one character; the parts of ``{#x}``,
  ``{.x}``, ``{/x}`` may be missing from the right; those of ``{;x}``, ``{?x}``, ``{&x}`` may be
  missing one by one, come in any order and have empty values;
- that of ``{x*}`` stands for one segment of a path or more, that of ``{/x*}`` for any number, each
  with its slash before it;
- where several splits are possible, each variable takes as much as it can, from the left, but
  ``{+x}``, ``{x*}`` and ``{/x*}`` stop before the first character of a later ``{?...}``,
  ``{&...}``, ``{;...}``, ``{#x}``;
- values are percent-decoded once and refused when they could escape the place they are meant for
  (see :func:`hazard`), unless the variable was declared unchecked.

Time is linear in the length of the URI for a given template: no backtracking.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

from mcpcore.service.declarations import MAX_URI
from mcpcore.service.uri_grammar import (
    Expression,
    Literal,
    TemplateError,
    expand_expression,
    parse,
    percent_decode,
)
from mcpcore.service.uri_matching import compile_pieces, match_pieces

__all__ = ["MAX_URI", "TemplateError", "UnsafeValue", "UriTemplate", "hazard"]

_ASCII = "".join(map(chr, range(128)))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


class UnsafeValue(ValueError):
    """Dangerous value of ``variable`` in a URI that matches; the message names the reason."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"variable {variable!r}: {reason}")
        self.variable = variable


class UriTemplate:
    """Parsed template: ``variables``, :meth:`expand`, :meth:`match`.

    ``unchecked`` names variables whose values are not checked.  Raises :class:`TemplateError` if
    the text is no template of the kinds described above.

    >>> template = UriTemplate("file:///{+path}{?line}")
    >>> template.expand({"path": "src/main.rs", "line": 7})
    'file:///src/main.rs?line=7'
    >>> template.match("file:///src/main.rs?line=7")
    {'path': 'src/main.rs', 'line': '7'}
    >>> template.match("file:///src/../../etc/passwd")
    Traceback (most recent call last):
    mcpcore.service.uri_templates.UnsafeValue: variable 'path': it holds the segment '..'
    """

    __slots__ = ("_limit", "_parts", "_pieces", "paths", "text", "unchecked", "variables")

    def __init__(
        self, text: str, *, unchecked: Collection[str] = (), max_length: int = MAX_URI
    ) -> None:
        self.text = text
        self._parts = parse(text)
        self.variables: tuple[str, ...] = tuple(
            name for part in self._parts if isinstance(part, Expression) for name in part.names
        )
        """Names in the order of the template."""
        self.paths = frozenset(
            name
            for part in self._parts
            if isinstance(part, Expression) and part.operator.path
            for name in part.names
        )
        """Names of variables that stand for a path of any length."""
        if len(set(self.variables)) != len(self.variables):
            raise TemplateError(f"template {text!r} names a variable twice")
        self.unchecked = frozenset(unchecked)
        if unknown := self.unchecked.difference(self.variables):
            raise TemplateError(f"template {text!r} has no variable {min(unknown)!r}")
        self._pieces = compile_pieces(text, self._parts)
        self._limit = max_length

    def __repr__(self) -> str:
        return f"UriTemplate({self.text!r})"

    def expand(self, values: Mapping[str, Any]) -> str:
        """Fill in ``values`` (strings, numbers, booleans); absent ones and None are undefined.

        A path (``{x*}``) may be a list of its segments.  RFC 6570 section 3.2.  Raises TypeError
        for any other compound value (level 4).
        """
        return "".join(
            part.text if isinstance(part, Literal) else expand_expression(part, values)
            for part in self._parts
        )

    def match(self, uri: str) -> dict[str, str] | None:
        """Return the decoded values by name, or None if the URI is no expansion of the template.

        Variables that are missing from the URI are missing from the result.  Characters outside
        ASCII count as their percent-encoded form (RFC 3987 section 3.1).  Raises
        :class:`UnsafeValue` if the URI matches but a value is dangerous.
        """
        if len(uri) > self._limit:
            return None
        if not uri.isascii():
            try:
                uri = quote(uri, safe=_ASCII)
            except UnicodeEncodeError:  # a lone surrogate
                return None
        found = match_pieces(self._pieces, uri)
        if found is None:
            return None
        values: dict[str, str] = {}
        for name, raw in found:
            value = percent_decode(raw)
            if value is None:
                return None
            if name not in self.unchecked and (reason := hazard(raw, value)):
                raise UnsafeValue(name, reason)
            values[name] = value
        return values


def hazard(raw: str, value: str) -> str | None:
    """Return the reason for which a matched value is dangerous as part of a path, or None.

    ``raw`` is the value as it stands in the URI, ``value`` the same, decoded.  Dangerous are
    control characters, encoded slashes and backslashes, the segment ``..`` (encoded twice too), and
    absolute paths of an operating system.
    """
    lowered = raw.lower()
    if "%2f" in lowered or "%5c" in lowered:
        return "it holds an encoded slash or backslash"
    # A handler may decode once more, so the result of that is checked as well.
    for text in (value, percent_decode(value) or value) if "%" in value else (value,):
        if _CONTROL.search(text):
            return "it holds a control character"
        path = text.replace("\\", "/")
        if ".." in path and any(segment.strip() == ".." for segment in path.split("/")):
            return "it holds the segment '..'"
        if path.startswith("/") or _DRIVE.match(path):
            return "it is an absolute path"
    return None
