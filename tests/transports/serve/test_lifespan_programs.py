"""The lifespan of whole programs: how they end, and what they say, when it fails."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from mcpcore.spec.types.content import TextContent
from mcpcore_transports.client.client import connect
from tests.clock import PATIENCE
from tests.command import mcpcore_here
from tests.ports import free_port
from tests.transports.serving import gone, kill, serving
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

ROOT = Path(__file__).parents[3]
APP = "tests.transports.serve.lively:server"
START = "the lifespan open_database failed at its start: "
PROGRAMS = {
    "run-asyncio": (str(ROOT / "tests/transports/serve/lively.py"), "asyncio"),
    "run-trio": (str(ROOT / "tests/transports/serve/lively.py"), "trio"),
    "serve-stdio": ("-m", "mcpcore_transports.commands.main", "serve", APP, "--stdio"),
    "serve-http": ("-m", "mcpcore_transports.commands.main", "serve", APP, "--http", "127.0.0.1:0"),
}
"""What follows the name of the interpreter."""
OF_RUN = {name: words for name, words in PROGRAMS.items() if name.startswith("run")}


@contextmanager
def started(words: tuple[str, ...], diary: Path, life: str = "") -> Iterator["Started"]:
    with subprocess.Popen(
        [*PYTHON, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LIFE": life, "LIFE_DIARY": str(diary)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


Started = subprocess.Popen[str]


def ended(process: Started) -> tuple[int, str, str]:
    """Close its input, and see it to its end."""
    out, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, out, errors


def entries(diary: Path) -> list[str]:
    return (
        [line.rpartition(" ")[0] for line in diary.read_text().splitlines()]
        if diary.exists()
        else []
    )


def until(diary: Path, entry: str) -> None:
    """Wait until there is such an entry."""

    async def look() -> None:
        with anyio.fail_after(PATIENCE):
            while entry not in entries(diary):  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.01)

    anyio.run(look)


@pytest.mark.turns("words")
@pytest.mark.parametrize("words", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize(
    ("life", "said"),
    [
        ("refused", f"{START}ConnectionRefusedError: no database"),
        ("exits", f"{START}SystemExit: 7"),
        ("fails in a group", f"{START}LookupError: no table"),
    ],
)
def test_a_failing_start_is_one_line_and_status_1(
    words: tuple[str, ...], life: str, said: str, tmp_path: Path
) -> None:
    with started(words, tmp_path / "diary", life) as process:
        status, out, errors = ended(process)
    prefix = "error: " if "serve" in words else ""
    assert (status, out, errors) == (1, "", f"{prefix}{said}\n")


def test_the_command_bounds_it_by_limits() -> None:
    words = ("serve", APP, "--http", "127.0.0.1:0", "--limit", "lifespan_start=0")
    done = mcpcore_here(*words)
    assert done.returncode == 2
    assert "lifespan_start" in done.stderr


def test_a_start_is_as_long_as_the_command_is_told(tmp_path: Path) -> None:
    words = (*PROGRAMS["serve-http"], "--limit", "lifespan_start=0.2")
    with started(words, tmp_path / "diary", "starts for ever") as process:
        status, out, errors = ended(process)
    said = "error: the lifespan open_database did not start within 0.2 seconds\n"
    assert (status, out, errors) == (1, "", said)


@pytest.mark.turns("words")
@pytest.mark.parametrize("words", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(
    words: tuple[str, ...], number: signal.Signals, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    with started(words, diary) as process:
        until(diary, "started")
        process.send_signal(number)
        process.wait(PATIENCE)  # its input is open until then
        assert ended(process)[0] == 0
    assert entries(diary) == ["start", "started", "end", "ended"]


@pytest.mark.parametrize("words", OF_RUN.values(), ids=OF_RUN)
def test_a_signal_while_it_ends_changes_nothing(words: tuple[str, ...], tmp_path: Path) -> None:
    with started(words, tmp_path / "diary", "interrupted at its end") as process:
        assert ended(process) == (0, "", "")


def test_no_number_of_signals_breaks_off_its_end(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    with started(PROGRAMS["serve-http"], diary, "ends in a storm") as process:
        until(diary, "started")
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
        status, _, errors = ended(process)
    assert (status, len(errors.splitlines())) == (0, 1)
    assert entries(diary) == ["start", "started", "end", "ended"]


@pytest.mark.turns("words")
@pytest.mark.parametrize("words", PROGRAMS.values(), ids=PROGRAMS)
def test_a_signal_gives_up_its_start(words: tuple[str, ...], tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    with started(words, diary, "starts slowly") as process:
        until(diary, "start")
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        assert ended(process) == (0, "", "")
    assert entries(diary) == ["start"]


@pytest.mark.turns("words")
@pytest.mark.parametrize("words", [*OF_RUN.values(), PROGRAMS["serve-stdio"]])
def test_its_end_has_more_time_than_handlers_have(words: tuple[str, ...], tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    with started(words, diary, "ends late") as process:
        assert ended(process)[0] == 0
    assert entries(diary) == ["start", "started", "end", "ended"]


@pytest.mark.turns("words")
@pytest.mark.parametrize("words", [*OF_RUN.values(), PROGRAMS["serve-stdio"]])
def test_a_failing_end_is_one_line_and_status_1(words: tuple[str, ...], tmp_path: Path) -> None:
    with started(words, tmp_path / "diary", "ends badly") as process:
        status, out, errors = ended(process)
    assert (status, out) == (1, "")
    said = "the lifespan open_database failed at its end: OSError: cannot flush"
    assert errors.splitlines()[-1].removeprefix("error: ") == said


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_each_worker_enters_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diary = tmp_path / "diary"
    monkeypatch.setenv("LIFE_DIARY", str(diary))
    async with serving("--http", "127.0.0.1:0", "--workers", "2", app=APP, python=PYTHON) as served:
        assert entries(diary).count("started") == 2
        async with connect(served.url) as client:
            assert (await client.call_tool("database")).text == "the database"
        served.process.terminate()
        assert await served.ended(PATIENCE) == 0
    lines = [line.split() for line in diary.read_text().splitlines()]
    pids = {pid for _, pid in lines}
    assert len(pids) == 2
    for pid in pids:
        of_it = [what for what, whose in lines if whose == pid]
        assert of_it == ["start", "started", "end", "ended"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("life", ["refused", "refused at length", "starts for ever"])
async def test_workers_that_cannot_start_are_one_line_and_status_1(
    life: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFE", life)
    words = ("--http", "127.0.0.1:0", "--workers", "3", "--limit", "lifespan_start=0.5")
    async with serving(*words, ready=False, app=APP, python=PYTHON) as served:
        assert await served.ended(PATIENCE) == 1
        await served.until("\n")
        said = f"{START}ConnectionRefusedError: no database"
        if life == "refused at length":  # its reason is cut within a character
            said = f"{START}ConnectionRefusedError: "
            assert served.said.startswith(f"error: {said}\u20ac")
            return
        if life == "starts for ever":
            said = "the lifespan open_database did not start within 0.5 seconds"
        assert served.said == f"error: {said}\n"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_worker_that_cannot_start_again_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    monkeypatch.setenv("LIFE_BROKEN", str(broken))
    async with serving("--http", "127.0.0.1:0", "--workers", "2", app=APP, python=PYTHON) as served:
        async with connect(served.url) as client:
            [block] = (await client.call_tool("pid")).content
            assert isinstance(block, TextContent)
        broken.touch()
        kill(int(block.text))
        await gone(int(block.text))
        await served.until(f"ended with status 1 ({START}ConnectionRefusedError: no database); it")
        broken.unlink()
        assert served.process.returncode is None


def test_an_asgi_server_does_not_begin_when_it_does_not_start(tmp_path: Path) -> None:
    words = ("-m", "uvicorn", "tests.transports.serve.lively:app", "--port", str(free_port()))
    with started(words, tmp_path / "diary", "refused") as process:
        status, _, errors = ended(process)
    assert status == 3  # of uvicorn
    assert errors.count(f"{START}ConnectionRefusedError: no database") == 1
    assert "Traceback" not in errors
