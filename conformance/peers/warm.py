"""Starting a program again and again without importing its library again and again.

A client's command is started once for every case, that of a server over stdio for many, and
importing an SDK takes longer than most cases.  So one process of its environment imports everything
and waits (``warm_host.py``); the command that the kit starts (``warm_start.py``) only asks it for a
fork, gives it its own standard streams, and ends as the fork ends.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from mcpcore_conformance.launch import LaunchError

HERE = Path(__file__).resolve().parent
READY = b"ready\n"


@contextmanager
def warm(command: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[list[str]]:
    """Keep a Python program warm (interpreter, file, arguments); yield a command that plays it.

    ``env``: for its import; when it is played it has that of the command.  Raises LaunchError if it
    cannot be imported.
    """
    python, program, *arguments = command
    with TemporaryDirectory(prefix="mcp-warm-") as directory:
        place = f"{directory}/socket"
        host = subprocess.Popen(
            [python, str(HERE / "warm_host.py"), place, program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
        )
        assert host.stdin is not None
        assert host.stdout is not None
        try:
            if host.stdout.readline() != READY:
                raise LaunchError(f"{program} cannot be imported by {python}")
            yield [sys.executable, "-IS", str(HERE / "warm_start.py"), place, *arguments]
        finally:
            host.stdin.close()
            host.stdout.close()
            host.wait()
