"""A redis-server or valkey-server of a test's own, on a Unix socket in a folder of its own."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.absent import absent

PROGRAM = shutil.which("redis-server")
PROGRAMS = {"redis": PROGRAM}
if (_VALKEY := shutil.which("valkey-server")) is not None:  # not every system has it
    PROGRAMS["valkey"] = _VALKEY


class RedisServer:
    """Runs while the test wants it to; keeps nothing unless ``append_only`` says so."""

    def __init__(self, program: str, folder: Path, *, append_only: bool) -> None:
        self._program = program
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}?db=0"
        self._folder = folder
        self._append_only = append_only
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        assert self._process is None
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [
                self._program,
                *("--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._folder)),
                *("--save", "", "--appendonly", "yes" if self._append_only else "no"),
                *("--appendfsync", "always", "--daemonize", "no", "--logfile", ""),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "eady to accept connections" in line:
                return
        raise AssertionError(f"{self._program} did not start: {''.join(said)}")

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None


@contextmanager
def redis_server(kind: str = "redis", *, append_only: bool = False) -> Iterator[RedisServer]:
    """Run a server for a test; skips the test where there is no redis-server, but not under CI."""
    program = PROGRAMS[kind]
    if program is None:
        absent("redis-server")
    # a folder of pytest may have a path too long for a socket
    with tempfile.TemporaryDirectory(prefix="mcpcore-redis-") as folder:
        server = RedisServer(program, Path(folder), append_only=append_only)
        try:
            server.start()
            yield server
        finally:
            server.kill()
