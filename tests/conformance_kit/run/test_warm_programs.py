"""Programs that are kept warm: a run of one is like a process of its own."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from conformance.peers.warm import warm
from mcpcore_conformance.launch import LaunchError
from tests.clock import PATIENCE

PROGRAM = """
import json, os, signal, sys, time

IMPORTED = os.getpid()
if __name__ == "__main__":
    what = sys.argv[1]
    print(json.dumps({"pid": os.getpid(), "imported": IMPORTED, "words": sys.argv[1:],
                      "env": dict(os.environ), "cwd": os.getcwd()}), flush=True)
    print("its last words", file=sys.stderr)
    if what == "fails":
        raise ValueError("it failed")
    if what == "leaves":
        sys.exit(7)
    if what == "hangs up":
        os.close(1)
        sys.exit(len(sys.stdin.read()))
    if what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "stays":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        print("here", flush=True)
        time.sleep(600)
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    program = tmp_path_factory.mktemp("warm") / "program.py"
    program.write_text(PROGRAM)
    with warm([sys.executable, str(program)]) as words:
        yield words


@pytest.mark.parametrize(
    ("what", "status"), [("ends", 0), ("leaves", 7), ("fails", 1), ("dies", -signal.SIGKILL)]
)
def test_a_run_is_like_a_process(
    command: list[str], tmp_path: Path, what: str, status: int
) -> None:
    environment = {"A": "b", **{f"LONG_{n}": "x" * 100_000 for n in range(12)}}
    ran = subprocess.run(
        [*command, what, "é"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    told = json.loads(ran.stdout)
    assert ran.returncode == status
    assert told["words"] == [what, "é"]
    assert environment.items() <= told["env"].items()
    assert told["env"].keys() - environment.keys() <= {"LC_CTYPE"}
    assert Path(told["cwd"]) == tmp_path
    assert told["imported"] == told["pid"], "what the program makes, it makes anew"
    errors = ran.stderr.decode()
    assert "its last words" in errors
    assert ("ValueError: it failed" in errors) is (what == "fails")


def started(command: list[str]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    run = subprocess.Popen([*command, "stays"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert run.stdout is not None
    assert json.loads(run.stdout.readline())["words"] == ["stays"]
    assert run.stdout.readline() == b"here\n"
    return run, run.stdout


def test_signals_reach_it(command: list[str]) -> None:
    run, output = started(command)
    run.send_signal(signal.SIGTERM)
    assert run.wait(PATIENCE) == 3
    output.close()


def test_its_streams_are_its_own(command: list[str]) -> None:
    run = subprocess.Popen(
        [*command, "hangs up"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert run.stdin is not None
    assert run.stdout is not None
    output = run.stdout.read()
    assert json.loads(output)["words"] == ["hangs up"], "it ends before the process does"
    run.stdin.write(b"four")
    run.stdin.close()
    assert run.wait(PATIENCE) == 4
    run.stdout.close()


def test_it_goes_with_the_process_that_asked_for_it(command: list[str]) -> None:
    run, output = started(command)
    run.kill()
    assert run.wait(PATIENCE) == -signal.SIGKILL
    assert output.read() == b"", "nobody holds its output any more"
    output.close()


def test_runs_do_not_wait_for_each_other(command: list[str]) -> None:
    both = [started(command) for _ in range(2)]
    for run, output in both:
        run.send_signal(signal.SIGTERM)
        assert run.wait(PATIENCE) == 3
        output.close()


def test_a_program_that_cannot_be_imported_is_said_so(tmp_path: Path) -> None:
    program = tmp_path / "broken.py"
    program.write_text("import no_such_module_here")
    wanted = pytest.raises(LaunchError, match=r"broken\.py cannot be imported")
    with wanted, warm([sys.executable, str(program)]):
        pytest.fail("it was imported")


def test_arguments_come_before_those_of_a_run(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with warm([sys.executable, str(program), "ends", "always"]) as words:
        ran = subprocess.run([*words, "now"], capture_output=True, check=True, timeout=PATIENCE)
    assert json.loads(ran.stdout)["words"] == ["ends", "always", "now"]


def test_its_arguments_are_known_when_it_is_imported(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import pathlib, sys\n"
        "if __name__ != '__main__':\n"
        "    pathlib.Path(__file__ + '.words').write_text(' '.join(sys.argv[1:]))\n"
    )
    with warm([sys.executable, str(program), "two", "words"]):
        assert Path(f"{program}.words").read_text() == "two words"


def test_what_the_processor_does_in_its_runs_is_counted(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import time\n"
        "if __name__ == '__main__':\n"
        "    while time.process_time() < 0.5:\n"
        "        pass\n"
    )

    def counted() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = counted()
    with warm([sys.executable, str(program)]) as words:
        subprocess.run(words, check=True, timeout=PATIENCE)
    assert counted() - before > 0.45


def test_nothing_is_left(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, pathlib\n"
        "if __name__ != '__main__':\n"
        "    pathlib.Path(__file__ + '.pid').write_text(str(os.getpid()))\n"
    )
    with warm([sys.executable, str(program)]) as words:
        subprocess.run(words, check=True, timeout=PATIENCE)
        waiting = int(Path(f"{program}.pid").read_text())
        os.kill(waiting, 0)
    assert not Path(words[-1]).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(waiting, 0)
