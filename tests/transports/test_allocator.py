"""Which allocator `mcpcore serve` runs with, and that nobody else hears of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clock import PATIENCE
from transports.allocator import is_system

pytest.importorskip("typer")

GLIBC = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", ())
SYSTEM, PYTHON = "system" if GLIBC else "python", "python"
TOLD = """\
import os, sys
from transports.allocator import is_system
told = "system" if is_system() else "python"
print(told, os.environ.get("PYTHONMALLOC"), os.environ.get("MCPCORE_ALLOCATOR"), os.getpid())
sys.exit(0)
"""
"""A server that tells what it finds when it is loaded, and is not served."""
HTTP = ("--http", "127.0.0.1:0")


def told(folder: Path, *words: str, **environment: str) -> tuple[list[str], int]:
    """What the process of a command says that it has, and the number of the process."""
    (folder / "telling.py").write_text(TOLD)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    path = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        [sys.executable, "-m", "transports.cli", "serve", "telling:server", *words],
        cwd=folder,
        env={**kept, "PYTHONPATH": path, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    *facts, number = out.split()
    assert int(number) == process.pid  # the same process, whatever it has become
    return facts, process.pid


@pytest.mark.parametrize(
    ("words", "environment", "facts"),
    [
        ((), {}, [SYSTEM, "None", "None"]),
        ((*HTTP, "--stdio"), {}, [SYSTEM, "None", "None"]),
        ((*HTTP, "--allocator", "python"), {}, [PYTHON, "None", "None"]),
        (HTTP, {"PYTHONMALLOC": "pymalloc"}, [PYTHON, "pymalloc", "None"]),
        (HTTP, {"PYTHONDEVMODE": "1"}, [PYTHON, "None", "None"]),
        (("--stdio",), {}, [PYTHON, "None", "None"]),
    ],
    ids=["default", "http", "python", "PYTHONMALLOC", "development", "stdio"],
)
def test_which(
    tmp_path: Path, words: tuple[str, ...], environment: dict[str, str], facts: list[str]
) -> None:
    assert told(tmp_path, *words, **environment)[0] == facts


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
@pytest.mark.parametrize("option", [("--allocator", "system"), ("--allocator=system",)])
def test_the_option_counts_for_more_than_the_environment(
    tmp_path: Path, option: tuple[str, ...]
) -> None:
    facts, _ = told(tmp_path, *HTTP, *option, PYTHONMALLOC="pymalloc")
    assert facts[0] == SYSTEM


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "transports.cli", "serve", "--allocator", "system"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    assert "--allocator system needs glibc" in done.stderr
    assert not done.stdout


def test_it_is_seen() -> None:
    script = "from transports.allocator import is_system; print(is_system())"
    for name in ("malloc", "pymalloc"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONMALLOC": name},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str(name == "malloc")
    assert isinstance(is_system(), bool)


FAULTS = """\
import resource, sys
from transports.allocator import keep_room
if sys.argv[1] == "kept":
    keep_room()

def work():
    parts = [bytes([number]) * 1_000_000 for number in range(3)]

for _ in range(3):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not GLIBC, reason="about the C library of GNU")
def test_the_memory_of_large_messages_is_not_mapped_anew_each_time() -> None:
    def faults(way: str) -> int:
        words = [sys.executable, "-c", FAULTS, way]
        path = os.pathsep.join(filter(None, sys.path))
        done = subprocess.run(
            words, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, check=True
        )
        return int(done.stdout)

    assert faults("kept") < 200 < faults("as it was")
