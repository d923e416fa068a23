"""Which driver, parser and loop HTTP gets: by the settings, by what is there, by the command."""

import subprocess
from typing import Any

import pytest

from mcpcore.spec.errors import LocalError
from mcpcore_transports.client.client import connect
from mcpcore_transports.http.server.listening import HttpServerLink
from mcpcore_transports.http1.settings import DriverName, HttpServerSettings
from mcpcore_transports.serve.serve import LoopName, backend_options
from tests.command import mcpcore_here
from tests.http.support import make_server
from tests.transports.http_fixture import Tools
from tests.transports.served import ANY_PORT
from tests.transports.serving import serving
from tests.warm import PYTHON

uvloop: Any = pytest.importorskip("uvloop")
QUICK = HttpServerSettings(parser="httptools")


@pytest.mark.parametrize(
    ("loop", "backend", "settings", "faster"),
    [
        ("auto", "asyncio", QUICK, True),
        ("auto", "asyncio", HttpServerSettings(), True),
        ("auto", "trio", QUICK, False),
        ("auto", "asyncio", None, False),
        ("auto", "asyncio", HttpServerSettings(parser="h11"), False),
        ("auto", "asyncio", HttpServerSettings(driver="anyio"), False),
        ("asyncio", "asyncio", QUICK, False),
        ("uvloop", "asyncio", None, True),
        ("uvloop", "asyncio", HttpServerSettings(parser="h11"), True),
    ],
)
def test_uvloop_runs_where_it_is_worth_it(
    loop: LoopName, backend: str, settings: HttpServerSettings | None, faster: bool
) -> None:
    expected = {"loop_factory": uvloop.new_event_loop} if faster else {}
    assert backend_options(loop, backend, settings) == expected


def test_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpcore_transports.serve.serve.find_spec", lambda name: None)
    assert backend_options("auto", "asyncio", QUICK) == {}
    with pytest.raises(LocalError, match=r"mcpcore\[speed\]"):
        backend_options("uvloop", "asyncio", QUICK)


@pytest.mark.parametrize("number", range(3))
def test_a_closed_standard_stream_is_no_socket_of_libuv(number: int) -> None:
    """libuv aborts the process when it closes a socket of such a number."""
    code = (
        "import os; from mcpcore_transports.serve.serve import backend_options as options;"
        "from mcpcore_transports.http1.settings import HttpServerSettings as Settings;"
        f"os.close({number}); os._exit(bool(options('auto', 'asyncio', Settings())))"
    )
    assert subprocess.run([*PYTHON, "-c", code], check=False).returncode == 0


def test_it_is_no_loop_of_trio() -> None:
    with pytest.raises(LocalError, match="asyncio"):
        backend_options("uvloop", "trio", QUICK)


@pytest.mark.anyio
async def test_the_driver_fits_the_loop(anyio_backend_name: str) -> None:
    on_asyncio = anyio_backend_name == "asyncio"
    assert _on_streams("auto") is not on_asyncio
    assert _on_streams("anyio")
    if on_asyncio:
        assert not _on_streams("asyncio")
        return
    with pytest.raises(LocalError, match="trio"):
        _on_streams("asyncio")


def _on_streams(driver: DriverName) -> bool:
    return HttpServerLink(
        make_server(), Tools(), settings=HttpServerSettings(driver=driver)
    ).on_streams


# On the command line


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    "words",
    [
        ("--loop", "uvloop", "--http-parser", "httptools"),
        ("--loop", "asyncio", "--http-driver", "anyio", "--http-parser", "h11"),
    ],
)
async def test_the_command_serves_so(words: tuple[str, ...]) -> None:
    async with serving("--http", ANY_PORT, *words, python=PYTHON) as running:
        await running.until("listening on http://")
        async with connect(running.url) as client:
            assert await client.tools()


def test_the_flags_need_an_http_address() -> None:
    done = mcpcore_here("serve", "--ws", ANY_PORT, "--http-parser", "h11")
    assert done.returncode == 2
    assert "--http-parser is for --http and --sse" in done.stderr
