"""Files of skills, read from a directory for :meth:`mcpcore.Server.add_skills`."""

import os
from collections.abc import Iterator
from pathlib import Path

from mcpcore.service.declarations import naming
from mcpcore.spec.skills import MAX_BYTES, SKILL_FILE, check_limits

_LEFT_OUT = "__pycache__"


def read_skills(directory: str | os.PathLike[str]) -> dict[str, bytes]:
    """Return the files of the skills below a directory, or of the skill that it is, by path.

    They are read once, now.  Names that begin with a dot, and ``__pycache__``, are left out, as are
    files that lie directly in ``directory``, unless it is a skill.

    Raises ValueError naming the file: one in a directory of no skill, a symbolic link that leads
    out of ``directory`` or to a directory, neither a file nor a directory, a skill with more than
    512 files or 16 MiB.  Raises OSError for what cannot be read.
    """
    top = Path(directory).resolve(strict=True)
    base = top.parent if (top / SKILL_FILE).is_file() else top
    found: dict[str, bytes] = {}
    for skill in _skills(top, top):
        files = size = 0
        for path in _files(skill, top):
            name = path.relative_to(base).as_posix()
            with naming(name), path.open("rb") as file:
                # No more is read than shows that it is too much.
                found[name] = file.read(MAX_BYTES - size + 1)
                files, size = files + 1, size + len(found[name])
                check_limits(files, size)
    return found


def _skills(folder: Path, top: Path) -> Iterator[Path]:
    """Find the outermost directories that are skills."""
    entries = list(_entries(folder, top))
    if folder / SKILL_FILE in entries:
        yield folder
        return
    for path in entries:
        if path.is_dir():
            yield from _skills(path, top)
        elif folder != top:
            name = path.relative_to(top).as_posix()
            raise ValueError(f"{name}: no directory above it has a {SKILL_FILE}")


def _files(folder: Path, top: Path) -> Iterator[Path]:
    for path in _entries(folder, top):
        if path.is_dir():
            yield from _files(path, top)
        else:
            yield path


def _entries(folder: Path, top: Path) -> Iterator[Path]:
    """Yield what a directory has, but for what is left out.  Raises ValueError."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == _LEFT_OUT:
            continue
        with naming(path.relative_to(top).as_posix()):
            if path.is_symlink():
                _check_link(path, top)
            elif not (path.is_file() or path.is_dir()):
                raise ValueError("neither a file nor a directory")
        yield path


def _check_link(path: Path, top: Path) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # a loop is the second one up to Python 3.12
        raise ValueError("a symbolic link that leads nowhere") from None
    if not target.is_relative_to(top):
        raise ValueError("a symbolic link that leads out of the directory")
    if not target.is_file():
        raise ValueError("a symbolic link to what is no file")
