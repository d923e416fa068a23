"""Variables in the values of a configuration file: ``${NAME}``, ``${NAME:-default}`` and others."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

_REFERENCE = re.compile(r"\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORMS = "${NAME}, ${NAME:-default}, ${env:NAME}, ${workspaceFolder} or ${userHome}"
_EDITORS = frozenset({".vscode", ".cursor"})


class Place(Struct, frozen=True):
    """Source of variables: the path of the configuration file, and an environment."""

    file: Path
    environ: Mapping[str, str]

    @property
    def root(self) -> Path:
        """Project folder: that of the file, or its parent for ``.vscode`` and ``.cursor``."""
        folder = self.file.absolute().parent
        return folder.parent if folder.name in _EDITORS else folder


class Undefined(ValueError):
    """A variable without a value; ``name`` is its name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
        )
        self.name = name


def substitute(text: str, place: Place) -> str:
    """Replace the variables in ``text``; replaced text is not expanded again.

    As in a shell, the default replaces a variable that is not set or empty.  Raises ValueError,
    whose message contains no value.
    """
    return _REFERENCE.sub(lambda match: _value(match, place), text)


def undefined(texts: Iterable[str], place: Place) -> list[str]:
    """Return the names of the variables in ``texts`` that have no value, each once."""
    names: dict[str, None] = {}
    for text in texts:
        for match in _REFERENCE.finditer(text):
            try:
                _value(match, place)
            except Undefined as error:
                names[error.name] = None
            except ValueError:
                continue  # malformed: not undefined
    return list(names)


def _value(match: re.Match[str], place: Place) -> str:
    inside, end = match.groups()
    if not end:
        raise ValueError(f"{match[0]!r} is not closed: expected {_FORMS}")
    if inside == "workspaceFolder":
        return str(place.root)
    if inside == "userHome":
        return str(Path.home())
    name, dash, default = inside.partition(":-")
    name = name.removeprefix("env:")
    if not _NAME.fullmatch(name):
        hint = "; nobody is asked for inputs here" if name.startswith("input:") else ""
        raise ValueError(f"{match[0]!r} is unknown: expected {_FORMS}{hint}")
    value = place.environ.get(name)
    if dash:
        return value or default
    if value is None:
        raise Undefined(name)
    return value
