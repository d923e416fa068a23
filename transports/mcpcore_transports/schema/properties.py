r"""Unicode properties of ECMA-262 patterns (``\p{...}``) in the syntax of RE2.

Supported are general categories, by their short and long names, scripts, ``Any``, ``ASCII`` and
``Assigned``.

Sources: ECMA-262, table "Non-binary Unicode property aliases"; Unicode Standard, table "General
Category Values"; RE2's page "Syntax".
"""

import re
from functools import cache

import re2  # type: ignore[import-untyped]

_SHORT = {
    name: short
    for short, *names in (
        entry.split()
        for entry in (
            "Lu Uppercase_Letter", "Ll Lowercase_Letter", "Lt Titlecase_Letter",
            "Lm Modifier_Letter", "Lo Other_Letter", "Mn Nonspacing_Mark", "Mc Spacing_Mark",
            "Me Enclosing_Mark", "Nd Decimal_Number digit", "Nl Letter_Number", "No Other_Number",
            "Pc Connector_Punctuation", "Pd Dash_Punctuation", "Ps Open_Punctuation",
            "Pe Close_Punctuation", "Pi Initial_Punctuation", "Pf Final_Punctuation",
            "Po Other_Punctuation", "Sm Math_Symbol", "Sc Currency_Symbol", "Sk Modifier_Symbol",
            "So Other_Symbol", "Zs Space_Separator", "Zl Line_Separator", "Zp Paragraph_Separator",
            "Cc Control cntrl", "Cf Format", "Cs Surrogate", "Co Private_Use", "Cn Unassigned",
            "L Letter", "M Mark Combining_Mark", "N Number", "P Punctuation punct", "S Symbol",
            "Z Separator", "C Other", "LC Cased_Letter",
        )
    )
    for name in (short, *names)
}  # fmt: skip
_SINGLE = frozenset(short for short in _SHORT.values() if len(short) == 2) - {"LC"}
_ALL = r"\x{0}-\x{10FFFF}"
_OTHERS = {
    "Any": (_ALL, ""),
    "ASCII": (r"\x{0}-\x{7F}", r"\x{80}-\x{10FFFF}"),
}
_NAME = re.compile(r"[A-Z][A-Za-z]+(?:_[A-Z][A-Za-z]+)*")


def property_set(expression: str, *, negated: bool) -> str | None:
    r"""Return the contents of the brackets for ``\p{expression}``; None if it is not supported.

    >>> property_set("Letter", negated=False)
    '\\p{Ll}\\p{Lm}\\p{Lo}\\p{Lt}\\p{Lu}'
    """
    prefix, equals, value = expression.rpartition("=")
    if prefix in ("Script", "sc") and _NAME.fullmatch(value) and value not in _SHORT:
        return rf"\{'P' if negated else 'p'}{{{value}}}"
    if equals and prefix not in ("General_Category", "gc"):
        return None
    if not equals and value in ("Any", "ASCII"):
        return _OTHERS[value][negated]
    if not equals and value == "Assigned":
        value, negated = "Cn", not negated
    short = _SHORT.get(value)
    if short is None:
        return None
    members = {"Lu", "Ll", "Lt"} if short == "LC" else {s for s in _SINGLE if s.startswith(short)}
    return "".join(
        _unassigned() if each == "Cn" else rf"\p{{{each}}}"
        for each in sorted(_SINGLE - members if negated else members)
    )


@cache
def _unassigned() -> str:
    """Return the category ``Cn``, for which RE2 has no name, as ranges."""
    characters = "".join(map(chr, range(0xD800))) + "".join(map(chr, range(0xE000, 0x110000)))
    others = re2.compile(r"[^\p{L}\p{M}\p{N}\p{P}\p{S}\p{Z}\p{C}]+")
    found = (match.group() for match in others.finditer(characters))
    return "".join(rf"\x{{{ord(each[0]):X}}}-\x{{{ord(each[-1]):X}}}" for each in found)
