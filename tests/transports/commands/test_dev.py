"""`mcpcore dev`: real processes, and files that are really written."""

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from mcpcore_transports.client.client import connect
from mcpcore_transports.commands.processes import Sources, imported, look
from tests.clock import PATIENCE
from tests.command import mcpcore_here
from tests.transports.serving import Serving, gone, kill, runs, serving
from tests.warm import PYTHON

pytestmark = pytest.mark.anyio

ANEW = "the server is started anew"
LISTENING = "listening on "
SERVER = """
import os
import subprocess
import sys

from mcpcore.service import Server

server = Server("weather")


@server.tool
def forecast() -> str:
    return "{answer}"


@server.tool
def pid() -> str:
    return str(os.getpid())


@server.tool
def leave_behind() -> str:
    child = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
    return str(subprocess.Popen(child).pid)


@server.tool
def fail() -> str:
    raise LookupError("no weather today")


@server.tool
def end() -> None:
    os._exit(7)
"""


@pytest.fixture
def anyio_backend() -> str:
    """The loop of the tests; the processes are the same whichever it is."""
    return "asyncio"


def write(folder: Path, answer: str) -> None:
    (folder / "weather.py").write_text(SERVER.replace("{answer}", answer))


@asynccontextmanager
async def developing(
    folder: Path, *words: str, answer: str = "rain", python: Sequence[str] = PYTHON
) -> AsyncIterator[Serving]:
    """Run the command; with an answer, the server's, from when it listens."""
    if answer:
        write(folder, answer)
    with anyio.fail_after(2 * PATIENCE):
        async with serving(
            *(words or ("--http", "127.0.0.1:0")),
            app="weather",
            command="dev",
            cwd=folder,
            ready=False,
            python=python,
        ) as served:
            if answer:
                await served.until(LISTENING, PATIENCE)
            yield served


async def ask(served: Serving, tool: str = "forecast", url: str | None = None) -> str:
    async with connect(url or served.urls[-1]) as client:
        return (await client.call_tool(tool)).text


async def test_a_file_that_changes_is_a_new_answer_at_the_same_address(tmp_path: Path) -> None:
    async with developing(tmp_path) as served:
        assert await ask(served) == "rain"
        for number, answer in enumerate(("wind", "snow"), 2):  # of one length, in one second
            write(tmp_path, answer)
            await served.until(LISTENING, PATIENCE, times=number)
            assert await ask(served) == answer
    assert len(set(served.urls)) == 1
    assert served.said.count(f"weather.py has changed: {ANEW}\n") == 2
    assert "error" not in served.said


async def test_what_cannot_be_imported_is_shown_and_the_next_change_waited_for(
    tmp_path: Path,
) -> None:
    async with developing(tmp_path) as served:
        (tmp_path / "weather.py").write_text("def broken(:\n")
        await served.until("ended with status 2; it is started anew", PATIENCE)
        assert "'weather' cannot be imported: SyntaxError: invalid syntax (weather.py, line 1)" in (
            served.said
        )
        (tmp_path / "weather.py").write_text("import nowhere_at_all\n")
        await served.until("No module named 'nowhere_at_all'", PATIENCE)
        (tmp_path / "weather.py").write_text("\n\nundefined()\n")
        await served.until("NameError: name 'undefined' is not defined", PATIENCE)
        await served.until('weather.py", line 3', PATIENCE)  # where, too
        write(tmp_path, "sun")
        await served.until(LISTENING, PATIENCE, times=2)
        assert await ask(served) == "sun"


@pytest.mark.long
async def test_files_that_come_and_go_and_modules_of_packages(tmp_path: Path) -> None:
    package = tmp_path / "elsewhere" / "climate"
    inner = package / "inner"
    inner.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (inner / "__init__.py").write_text('MOOD = "mild"\n')
    (tmp_path / "weather.py").write_text(
        'import sys\nsys.path.append("elsewhere")\n'
        + SERVER.replace('return "{answer}"', "from climate.inner import MOOD; return MOOD")
        + "\nimport climate\n"
    )
    async with developing(tmp_path, answer="") as served:
        await served.until(LISTENING, PATIENCE)
        assert await ask(served) == "mild"
        # It was imported by a call: the package is watched, not only what was imported at first.
        (inner / "__init__.py").write_text('MOOD = "wild"\n')
        await served.until(LISTENING, PATIENCE, times=2)
        assert await ask(served) == "wild"
        (tmp_path / "new.py").write_text("")
        await served.until(f"new.py has changed: {ANEW}", PATIENCE)
        await served.until(LISTENING, PATIENCE, times=3)
        (tmp_path / "new.py").unlink()
        await served.until(f"new.py has changed: {ANEW}", PATIENCE, times=2)
        await served.until(LISTENING, PATIENCE, times=4)
    assert os.path.join("elsewhere", "climate", "inner", "__init__.py") in served.said


@pytest.mark.share(4)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("state", ["serving", "broken"])
async def test_a_signal_ends_all_as_it_ends_serve(
    number: signal.Signals, state: str, tmp_path: Path
) -> None:
    async with developing(tmp_path) as served:
        pids = [int(await ask(served, tool)) for tool in ("pid", "leave_behind")]
        if state == "broken":
            (tmp_path / "weather.py").write_text("def broken(:\n")
            await served.until("it is started anew when a file changes", PATIENCE)
        served.process.send_signal(number)
        assert await served.ended(PATIENCE) == 0
        for pid in pids:
            await gone(pid, PATIENCE)


async def test_what_a_server_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    async with developing(tmp_path) as served:
        child = int(await ask(served, "leave_behind"))
        assert runs(child)
        write(tmp_path, "wind")
        await served.until(LISTENING, PATIENCE, times=2)
        await gone(child, PATIENCE)


async def test_all_ends_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    words = ("--http", "127.0.0.1:0", "--limit", "lifespan_end=1")
    async with developing(tmp_path, *words, python=(sys.executable,)) as served:
        pid = int(await ask(served, "pid"))
        kill(served.process.pid)
        assert await served.ended(PATIENCE) == -signal.SIGKILL
        await gone(pid, PATIENCE)


@pytest.mark.long
async def test_a_server_that_ends_by_itself_waits_for_a_change(tmp_path: Path) -> None:
    async with developing(tmp_path) as served:
        with pytest.raises(Exception):  # noqa: B017 - whatever the client makes of it
            await ask(served, "end")
        await served.until("the server has ended with status 7; it is started anew", PATIENCE)
        write(tmp_path, "wind")
        await served.until(LISTENING, PATIENCE, times=2)
        assert await ask(served) == "wind"


async def test_clients_are_shown_how_handlers_fail(tmp_path: Path) -> None:
    async with developing(tmp_path) as served:
        assert "LookupError: no weather today" in await ask(served, "fail")


async def test_every_address_stays_the_same(tmp_path: Path) -> None:
    options = ("--http", "--http", "--sse", "--ws", "--tcp")
    words = [word for option in options for word in (option, "127.0.0.1:0")]
    async with developing(tmp_path, *words, "--unix", str(tmp_path / "socket")) as served:
        await served.until(LISTENING, PATIENCE, times=6)
        first = list(served.urls)
        write(tmp_path, "wind")
        await served.until(LISTENING, PATIENCE, times=12)
        assert served.urls[6:] == first
        for url in first:
            assert await ask(served, url=url) == "wind"
    ports = {url.split(":")[-1].partition("/")[0] for url in first if "unix" not in url}
    assert len(ports) == 4  # what is named alike for HTTP and HTTP+SSE shares one


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot hold a port for a child")
async def test_a_port_that_it_chose_is_nobody_elses_before_the_server_listens(
    tmp_path: Path,
) -> None:
    other = """
import socket
port = int(sys.argv[sys.argv.index("--http") + 1].rpartition(":")[2])
with socket.socket() as other:
    try:
        other.bind(("127.0.0.1", port))
        print("it is free", file=sys.stderr)
    except OSError:
        print("it is held", file=sys.stderr)
"""
    source = SERVER.replace("{answer}", "rain")
    (tmp_path / "weather.py").write_text(source.replace("import sys\n", f"import sys\n{other}"))
    async with developing(tmp_path, answer="") as served:
        await served.until(LISTENING, PATIENCE)
        assert "it is held" in served.said
        assert await ask(served) == "rain"


async def test_an_address_in_use_ends_it_as_it_ends_serve(tmp_path: Path) -> None:
    write(tmp_path, "rain")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with developing(tmp_path, "--http", address, answer="") as served:
            assert await served.ended(PATIENCE) == 3
            await served.until(f"cannot listen on {address}: address already in use")


async def test_a_lifespan_that_fails_waits_for_a_change_and_says_where(tmp_path: Path) -> None:
    lifespan = """
from contextlib import asynccontextmanager

@asynccontextmanager
async def open_database():
    raise ConnectionRefusedError("no database")
    yield
"""
    source = SERVER.replace("{answer}", "rain").replace("\n\nserver = ", f"{lifespan}\n\nserver = ")
    broken = source.replace('Server("weather")', 'Server("weather", lifespan=open_database)')
    (tmp_path / "weather.py").write_text(broken)
    async with developing(tmp_path, answer="") as served:
        await served.until("the server has ended with status 1; it is started anew", PATIENCE)
        said = "the lifespan open_database failed at its start: ConnectionRefusedError: no database"
        assert f"error: {said}\n" in served.said
        assert "weather.py" in served.said  # of the traceback
        write(tmp_path, "sun")
        await served.until(LISTENING, PATIENCE)
        assert await ask(served) == "sun"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("weather", "--stdio"), "dev has no --stdio: there a client starts the server itself"),
        (("weather", "--workers", "2"), "dev has no --workers: it starts one process anew"),
        ((), "dev needs the name of a server, MODULE:SERVER"),
        (("weather", "--http", "nonsense"), "HOST:PORT"),
        (("weather", "--limit", "nonsense=1"), "nonsense"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_started(
    words: tuple[str, ...], said: str
) -> None:
    done = mcpcore_here("dev", *words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr


# What is watched


def test_files_are_looked_at_by_what_they_are(tmp_path: Path) -> None:
    package = tmp_path / "package"
    for folder in ("inner", "__pycache__", ".hidden", "venv", "node_modules/site-packages"):
        (package / folder).mkdir(parents=True)
    (package / "venv" / "pyvenv.cfg").touch()
    alone = tmp_path / "alone.py"
    alone.write_text("1")
    sources = Sources([str(tmp_path)])
    assert sources.changed() is None
    unwatched = [
        *(package / name for name in ("a.txt", ".hidden/a.py", "venv/a.py", "__pycache__/a.py")),
        package / "node_modules" / "site-packages" / "a.py",
        package / "inner" / "a.py",
    ]
    for path in unwatched:
        path.touch()
    assert sources.changed() is None
    alone.write_text("2")
    os.utime(alone, ns=(0, 0))
    assert sources.changed() == str(alone)
    assert sources.changed() is None
    added = [f"{package}{os.sep}"]
    sources.add(added, look(added))
    assert sources.changed() is None
    (package / "inner" / "a.py").write_text("changed")
    assert sources.changed() == str(package / "inner" / "a.py")
    (package / "inner" / "a.py").unlink()
    assert sources.changed() == str(package / "inner" / "a.py")
    for path in unwatched[:-1]:
        path.write_text("changed")
    assert sources.changed() is None


def test_a_change_between_two_processes_is_not_lost(tmp_path: Path) -> None:
    """What a server says of its modules is no new beginning, and it is what it has seen of them."""
    folder, other = tmp_path / "here", tmp_path / "other.py"
    folder.mkdir()
    alone = folder / "alone.py"
    alone.write_text("1")
    other.write_text("1")
    sources = Sources([str(folder)])
    alone.write_text("22")
    sources.add([str(alone)], look([str(alone)]))
    assert sources.changed() == str(alone)
    seen = look([str(other)])
    other.write_text("22")
    sources.add([str(other)], seen)
    assert sources.changed() == str(other)


def test_what_is_installed_is_not_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_module.py").write_text("")
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("from . import inner")
    (tmp_path / "own_package" / "inner.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_module  # type: ignore[import-not-found]
    import own_package  # type: ignore[import-not-found]

    try:
        roots = imported()
    finally:
        for name in (own_module.__name__, own_package.__name__, "own_package.inner"):
            del sys.modules[name]
    assert {str(tmp_path / "own_module.py"), f"{tmp_path / 'own_package'}{os.sep}"} <= roots
    assert not any(each.startswith(os.path.dirname(os.__file__)) for each in roots)
    assert not any("site-packages" in each for each in roots)
