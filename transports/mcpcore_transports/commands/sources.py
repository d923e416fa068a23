"""Source files of a server under development, and detection of their changes.

The files are polled: that needs no support of the system, works with every editor, and takes a few
milliseconds for hundreds of files.
"""

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

_INSTALLED = ("site-packages", "dist-packages")
_SKIPPED = frozenset({"__pycache__", "node_modules", *_INSTALLED})
_MOST = 20_000
"""Maximum files of one folder that are watched."""

Stamp = tuple[int, int, int]
Stamps = dict[str, Stamp]


class Sources:
    """Watched Python files, given by folders and files.

    A folder that ends in a separator is watched with its subfolders, any other one without.
    """

    def __init__(self, roots: Iterable[str]) -> None:
        self._roots = set(roots)
        self._seen = look(self._roots)

    def add(self, roots: Iterable[str], seen: Stamps) -> None:
        """Watch these folders and files, too; ``seen`` are the stamps that the caller found."""
        self._roots.update(roots)
        self._seen = {**seen, **self._seen}

    def changed(self) -> str | None:
        """Return a file that was changed, created or removed since the last call, if any."""
        before, self._seen = self._seen, look(self._roots)
        changes = before.items() ^ self._seen.items()
        return min((path for path, _ in changes), default=None)


def look(roots: Iterable[str]) -> Stamps:
    """Find the files, each with a stamp that changes when it is written."""
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
    """Return the files of imported modules that are not installed.

    For a package this is its whole folder, as more of its modules may be imported later.
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
