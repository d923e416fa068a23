"""Where a run is written: looked at before anything is measured, for measuring takes long."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from mcpcore_transports.commands.output import Exit, Failure


class Outputs(Struct, frozen=True, kw_only=True):
    """What the command line wants to have written."""

    json: Path | None = None
    markdown: Path | None = None
    plots: Path | None = None
    write_docs: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """As the command line says it; of files and folders the names alone."""
        named = (("--json", self.json), ("--markdown", self.markdown), ("--plots", self.plots))
        found = [word for option, path in named if path is not None for word in (option, path.name)]
        return (*found, *(("--write-docs",) if self.write_docs else ()))

    def check(self, page: Path, plots: Path, reasons: Sequence[str] = ()) -> None:
        """Find out whether all of it can be written, and leave everything as it is.

        ``page``, ``plots``: the file and the folder that ``write_docs`` changes; ``reasons``: why
        the page does not take the run, if it does not.  Raises Failure.
        """
        for option, file in (("--json", self.json), ("--markdown", self.markdown)):
            if file is not None:
                _file(option, file)
        if self.plots is not None:
            _folder("--plots", self.plots)
        if self.write_docs:
            if reasons:
                raise _wrong("--write-docs", page, "; ".join(reasons))
            if not page.is_file():
                raise _wrong("--write-docs", page, "there is no such file")
            _file("--write-docs", page)
            _folder("--write-docs", plots)


def _file(option: str, file: Path) -> None:
    if file.is_dir():
        raise _wrong(option, file, "it is a folder")
    if file.exists():
        try:
            with file.open("ab"):
                return
        except OSError as error:
            raise _wrong(option, file, error.strerror) from None
    _room(option, file, file.parent)


def _folder(option: str, folder: Path) -> None:
    """A folder that is not there is made later, in one that is."""
    if folder.exists() and not folder.is_dir():
        raise _wrong(option, folder, "it is no folder")
    _room(option, folder, folder if folder.exists() else folder.parent)


def _room(option: str, path: Path, folder: Path) -> None:
    """Only who makes a file in a folder knows that it can be done; this one is gone at once."""
    if not folder.is_dir():
        raise _wrong(option, path, f"there is no folder {folder}")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _wrong(
            option, path, f"nothing can be written to {folder}: {error.strerror}"
        ) from None


def _wrong(option: str, path: Path, why: str | None) -> Failure:
    return Failure(f"{option} {path}: {why}", Exit.USAGE)
