"""The files of a server that is being written: which they are, and whether they have changed.

They are looked at again and again: that needs nothing of the system, sees what every editor does,
and takes a few milliseconds for hundreds of files.
"""

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

_INSTALLED = ("site-packages", "dist-packages")
_SKIPPED = frozenset({"__pycache__", "node_modules", *_INSTALLED})
_MOST = 20_000
"""Files of one folder that are looked at."""

Stamp = tuple[int, int, int]
Stamps = dict[str, Stamp]


class Sources:
    """Python files, by the folders and the files that they are in.

    A folder that ends in a separator is looked at with those within, any other one alone.
    """

    def __init__(self, roots: Iterable[str]) -> None:
        self._roots = set(roots)
        self._seen = look(self._roots)

    def add(self, roots: Iterable[str], seen: Stamps) -> None:
        """Look at these too; ``seen`` is what whoever names them has found there."""
        self._roots.update(roots)
        self._seen = {**seen, **self._seen}

    def changed(self) -> str | None:
        """A file that is another than when this was last asked, or was there, or was not."""
        before, self._seen = self._seen, look(self._roots)
        changes = before.items() ^ self._seen.items()
        return min((path for path, _ in changes), default=None)


def look(roots: Iterable[str]) -> Stamps:
    """Find the files, each with what changes when it is written."""
    found: Stamps = {}
    for path in (each for root in roots for each in _files(root)):
        try:
            status = os.stat(path)
        except OSError:  # it has just gone
            continue
        found[path] = status.st_mtime_ns, status.st_size, status.st_ino
    return found


def _files(root: str) -> Iterator[str]:
    if os.path.isfile(root):
        yield root
        return
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if _is_source(folder, name)]
        if not root.endswith(os.sep):
            folders.clear()
        for name in names:
            if name.endswith(".py"):
                yield os.path.join(folder, name)
                count += 1
        if count > _MOST:
            return


def _is_source(folder: str, name: str) -> bool:
    hidden = name.startswith(".") or name in _SKIPPED
    return not hidden and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))


def imported() -> set[str]:
    """Where the modules are that this process has imported and nobody has installed.

    Of a package it is the whole folder, as modules of it may be imported later.
    """
    own = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    roots = set()
    for name, module in sys.modules.copy().items():
        file = getattr(module, "__file__", None)
        if not file or not file.endswith(".py") or name == "__main__":
            continue
        path = Path(os.path.abspath(file))
        if not own.isdisjoint(map(str, path.parents)) or not set(_INSTALLED).isdisjoint(path.parts):
            continue
        package = getattr(sys.modules.get(name.partition(".")[0]), "__path__", None)
        folders = [os.path.join(os.path.abspath(each), "") for each in package or ()]
        within = [each for each in folders if str(path).startswith(each)]
        roots.add(within[0] if within else str(path))
    return roots
