"""Starting the server under load, and what the system says about it."""

import os
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import reduce
from queue import Empty, Queue

from msgspec import structs

from mcpcore_bench.load.jobs import Command

ANNOUNCED = b"listening on "
PATIENCE = 60.0
PAGE = os.sysconf("SC_PAGE_SIZE")
GRACE = 5.0
HEAP = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(8 * 1024 * 1024))
"""Settings of glibc that keep room for messages of some MB, as docs/how-to/scaling.md advises.

Without them each MB of a message costs hundreds of page faults.  Whatever is measured, and what
measures it, has them."""


class ServerFailed(Exception):
    """The server did not start, or ended."""


def cpu(process: int) -> float:
    """CPU time of a process so far, all its threads together, in seconds."""
    # What clock_getcpuclockid(3) returns: the kernel's number for the clock of another process.
    return time.clock_gettime((~process << 3) | 2)


def resident(process: int) -> int:
    """Resident memory of a process, in bytes."""
    with open(f"/proc/{process}/statm") as statm:
        return int(statm.read().split()[1]) * PAGE


def peak(process: int) -> int:
    """The most memory that was resident since :func:`reset_peak`, in bytes."""
    with open(f"/proc/{process}/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise ServerFailed("the kernel does not tell VmHWM")


def reset_peak(process: int) -> None:
    """Begin to count the peak of resident memory anew."""
    with open(f"/proc/{process}/clear_refs", "w") as clear:
        clear.write("5")


@contextmanager
def placed(command: Command, issuer: str = "", behind: Command | None = None) -> Iterator[Command]:
    """The same command with ``{path}``, of a Unix socket, ``{cert}`` and ``{issuer}`` filled in.

    The second is a file with a certificate for this machine, just made, and its key.  With
    ``behind`` that server is started, and ``{upstream}`` is its URL.
    """
    with (
        tempfile.TemporaryDirectory(prefix="mcpcore-bench-") as folder,
        nullcontext((0, "")) if behind is None else listening(behind) as (_, upstream),
    ):
        path, cert = (os.path.join(folder, name) for name in ("bench.sock", "cert.pem"))
        if "{cert}" in command.words:
            _certify(cert)
        holes = {"{path}": path, "{cert}": cert, "{issuer}": issuer, "{upstream}": upstream}
        words = (reduce(_filled, holes.items(), word) for word in command.words)
        yield structs.replace(command, words=tuple(words))


def _filled(word: str, hole: tuple[str, str]) -> str:
    return word.replace(*hole)


def _certify(file: str) -> None:
    import trustme  # here and not above: it takes long, and few want it

    made = trustme.CA().issue_cert("127.0.0.1")
    made.private_key_and_cert_chain_pem.write_to_path(file)


@contextmanager
def listening(command: Command) -> Iterator[tuple[int, str]]:
    """Have a server for as long as the context lasts: its process and its URL."""
    process = subprocess.Popen(
        command.words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **HEAP, **command.env},
    )
    assert process.stderr is not None
    told: Queue[str | None] = Queue()
    tail: deque[str] = deque(maxlen=20)

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            text = line.decode(errors="replace").rstrip()
            tail.append(text)
            if line.startswith(ANNOUNCED):
                told.put(text.removeprefix(ANNOUNCED.decode()))
        told.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        try:
            url = told.get(timeout=PATIENCE)
        except Empty:
            url = None
        if url is None:
            raise ServerFailed("\n".join(tail) or "the server said nothing")
        yield process.pid, url
    finally:
        stop(process)
        reader.join()
        process.stderr.close()


@contextmanager
def piped(command: Command) -> Iterator[tuple[int, int, int]]:
    """Have a stdio server: its process, and the descriptors to write to and to read from."""
    process = subprocess.Popen(
        command.words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **HEAP, **command.env},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.pid, process.stdin.fileno(), process.stdout.fileno()
    finally:
        process.stdin.close()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            stop(process)
        process.stdout.close()


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process, if need be by force."""
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
