"""The ``mcpcore`` command in this process, where it is not the process that is tested.

To start it takes ten times as long as most of what it is asked for.
"""

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

from mcpcore_transports.commands.main import main
from tests.warm import PYTHON

ROOT = Path(__file__).parents[1]
Done = subprocess.CompletedProcess[str]


def mcpcore_here(*words: str, cwd: Path | None = None, **changes: str) -> Done:
    """Run the command to its end; an exception that it lets through is one of the test."""
    return command_here(words, changes, cwd=cwd)


def command_here(
    words: Sequence[str],
    changes: Mapping[str, str],
    *,
    cwd: Path | None = None,
    stdin: TextIO | None = None,
    stderr: io.StringIO | None = None,
) -> Done:
    """Run the command as :func:`mcpcore_here` does.

    ``stdin``: its input, by default none.  ``stderr``: where its messages can be read meanwhile.
    """
    out, err = io.StringIO(), stderr or io.StringIO()
    with (
        _environment({"TERM": "dumb", **changes}),
        chdir(cwd or Path.cwd()),
        _input(stdin),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main(words)
        except SystemExit as ended:
            code = ended.code
    if isinstance(code, str):
        err.write(code)
    status = code if isinstance(code, int) else int(code is not None)
    return Done(words, status, out.getvalue(), err.getvalue())


def python_here(module: str, *words: str) -> Done:
    """Run a module of the checkout as a program."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    command = [*PYTHON, "-m", module, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _input(given: TextIO | None) -> Iterator[None]:
    before = sys.stdin
    with open(os.devnull, encoding="utf-8") as nothing:
        sys.stdin = given or nothing
        try:
            yield
        finally:
            sys.stdin = before
