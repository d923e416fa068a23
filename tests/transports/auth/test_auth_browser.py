"""Sign-in of a person: what is opened and printed, what may be pasted, and when."""

import os
import shlex
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import parse_qs

import anyio
import pytest

from mcpcore.auth.needs import Callback, NeedFailed, OpenUrl
from mcpcore.errors import UrlRefused
from mcpcore_transports.auth.browser import (
    BrowserSignIn,
    PastedSignIn,
    SignIn,
    is_headless,
    pasted_query,
    read_line,
    tell,
    usual_sign_in,
)
from mcpcore_transports.auth.callback import CallbackListener, listen
from tests.clock import PATIENCE, patience, turns, until
from tests.transports.auth.test_auth_callback import get, port_of, say

pytestmark = pytest.mark.anyio

REDIRECT = "http://127.0.0.1:5/callback"
URL = "https://id.example/authorize?client_id=a%20b&state=s&resource=https%3A%2F%2Fmcp.example"


def need(url: str = URL) -> OpenUrl:
    return OpenUrl(url=url, redirect_uri=REDIRECT, state="s", timeout=60)


async def come_back(listener: CallbackListener) -> None:
    port = port_of(listener)
    await say(port, get("code=c&state=s", port))


@asynccontextmanager
async def asking(
    sign_in: SignIn, listener: CallbackListener
) -> AsyncIterator[list[Callback | NeedFailed]]:
    """Ask a person, in a task of its own, for what is in the list at the end."""
    outcomes: list[Callback | NeedFailed] = []

    async def ask() -> None:
        outcomes.append(await sign_in.ask(need(), listener))

    with patience():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            yield outcomes


async def test_a_browser_gets_the_url_as_one_argument(tmp_path: Path) -> None:
    program, seen = tmp_path / "browser", tmp_path / "seen"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {shlex.quote(str(seen))}.part\n')
    with program.open("a") as file:
        file.write(f"mv {shlex.quote(str(seen))}.part {shlex.quote(str(seen))}\n")
    program.chmod(0o755)
    printed: list[str] = []
    listener = await listen("http://127.0.0.1/callback")
    sign_in = BrowserSignIn(webbrowser.get(f"{program} %s").open, printed.append)
    async with asking(sign_in, listener) as outcomes:
        await until(seen.exists)
        await come_back(listener)
    assert seen.read_text() == f"{URL}\n"
    assert outcomes == [Callback("code=c&state=s")]
    assert URL in "".join(printed)


def broken(url: str) -> bool:
    raise OSError("no browser")


@pytest.mark.parametrize("opener", [lambda _: False, broken])
async def test_without_a_browser_the_printed_url_does(opener: object) -> None:
    printed: list[str] = []
    listener = await listen("http://127.0.0.1/callback")
    sign_in = BrowserSignIn(opener, printed.append)  # type: ignore[arg-type]
    async with asking(sign_in, listener):
        await until(lambda: printed)
        await come_back(listener)
    assert URL in printed[0]


async def test_an_opener_that_nobody_would_await_is_a_mistake() -> None:
    async def opener(url: str) -> bool:
        return True

    with pytest.raises(TypeError, match="opener is a coroutine function"):
        BrowserSignIn(opener)  # type: ignore[arg-type]


async def test_a_browser_that_ends_elsewhere_is_not_opened() -> None:
    outcome = await BrowserSignIn(broken, list[str]().append).ask(need(), None)
    assert isinstance(outcome, NeedFailed)
    assert outcome.reason.endswith("pasted (--no-browser, PastedSignIn)")


async def test_nobody_waits_for_a_browser_that_stays_open() -> None:
    """As that of ``BROWSER="firefox %s"`` may: the program can end before it."""
    closed, waited_for = threading.Event(), list[bool]()

    def stays(url: str) -> bool:
        waited_for.append(not threading.current_thread().daemon)
        return closed.wait(PATIENCE)

    listener = await listen("http://127.0.0.1/callback")
    async with asking(BrowserSignIn(stays, list[str]().append), listener) as outcomes:
        await until(lambda: waited_for)
        await come_back(listener)
    closed.set()
    assert outcomes == [Callback("code=c&state=s")]
    assert waited_for == [False]


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "vbscript:x",
        "-https://id.example/",
        "https://id.example/a b",
        "https://id.example/a\nb",
        "https://id.example/$(id)",
        "https://id.example/`id`",
        "https://id.example/?a=b;id",
        "https://id.example/?a='b'",
        'https://id.example/?a="b"',
        "https://id.example/?a=b|id",
        "https://id.example/?a=<b>",
        "https://id.example/\\x",
        "https://id.example/\x1b[31m",
        "https://id.example/é",
        "https://",
    ],
)
@pytest.mark.parametrize("way", ["browser", "pasted"])
async def test_a_url_that_a_shell_could_read_is_not_opened(url: str, way: str) -> None:
    used: list[str] = []

    def opener(url: str) -> bool:
        used.append(url)
        return True

    async def read() -> str:
        return ""

    listener = await listen("http://127.0.0.1/callback")
    browser, pasted = BrowserSignIn(opener, used.append), PastedSignIn(read, used.append)
    with pytest.raises(UrlRefused):
        await (browser if way == "browser" else pasted).ask(need(url), listener)
    await listener.aclose()
    assert used == []


@pytest.mark.parametrize(
    ("environ", "platform", "headless"),
    [
        ({}, "linux", True),
        ({"DISPLAY": ":0"}, "linux", False),
        ({"WAYLAND_DISPLAY": "w"}, "linux", False),
        ({"BROWSER": "firefox"}, "linux", False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "a 1 b 2"}, "linux", True),
        ({}, "darwin", False),
        ({}, "win32", False),
        ({"SSH_CONNECTION": "a 1 b 2"}, "darwin", True),
        ({"SSH_TTY": "/dev/pts/1"}, "linux", True),
        ({"DISPLAY": ""}, "linux", True),
    ],
)
def test_who_has_no_browser(environ: dict[str, str], platform: str, headless: bool) -> None:
    assert is_headless(environ, platform) is headless
    assert isinstance(usual_sign_in(environ, platform), PastedSignIn) is headless


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (f"{REDIRECT}?code=c&state=s\n", {"code": ["c"], "state": ["s"]}),
        (f"  {REDIRECT}?code=c&state=s#_=_ \n", {"code": ["c"], "state": ["s"]}),
        ("?code=c&state=s", {"code": ["c"], "state": ["s"]}),
        ("code=c&state=s", {"code": ["c"], "state": ["s"]}),
        ("http://127.0.0.1:6/callback?code=c&state=s", None),
        ("https://evil.example/callback?code=c&state=s", None),
        ("c", None),
        ("c s", None),  # without the issuer (RFC 9207), of which nothing would be known
        ("code=c state=s", None),
        ("a b c", None),
        ("", None),
        ("ftp://127.0.0.1/callback?code=c&state=s", None),
    ],
)
def test_texts_that_are_pasted(text: str, query: dict[str, list[str]] | None) -> None:
    found = pasted_query(text, REDIRECT)
    assert (None if found is None else parse_qs(found)) == query


@pytest.mark.parametrize(
    ("redirect", "shown"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/?code=c"),
        ("https://App.example:443?a=b", "https://app.example/?a=b&code=c"),
    ],
)
def test_a_browser_shows_a_redirect_uri_in_its_own_spelling(redirect: str, shown: str) -> None:
    assert (pasted_query(shown, redirect) or "").endswith("code=c")


async def pasting(*lines: str) -> tuple[Callback | NeedFailed, str]:
    rest, printed = list(lines), list[str]()

    async def read() -> str:
        return rest.pop(0) if rest else ""

    outcome = await PastedSignIn(read, printed.append).ask(need(), None)
    return outcome, "".join(printed)


async def test_a_pasted_url_is_a_callback() -> None:
    outcome, printed = await pasting(f"{REDIRECT}?code=c&state=s\n")
    assert outcome == Callback("code=c&state=s")
    assert URL in printed


async def test_a_wrong_one_is_asked_for_again() -> None:
    outcome, printed = await pasting(
        "c s\n", f"{REDIRECT}?code=c&state=other\n", "code=c&state=s\n"
    )
    assert outcome == Callback("code=c&state=s")
    assert printed.count("not the answer") == 2


async def test_several_ask_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at several servers at once, in a program without a browser."""
    printed, found = list[str](), list[object]()

    async def ask() -> None:
        found.append(await PastedSignIn(write=printed.append).ask(need(), None))

    with standard_input(monkeypatch) as writing, patience():
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(ask)
                await turns()
                assert len(printed) == 1
            for number in (1, 2):
                os.write(writing, b"code=c&state=s\n")
                while len(found) < number:
                    await turns(1)
    assert found == [Callback("code=c&state=s")] * 2
    assert len(printed) == 2


@pytest.mark.parametrize("lines", [(), ("c\n",) * 4])
async def test_pasting_ends(lines: tuple[str, ...]) -> None:
    outcome, _ = await pasting(*lines)
    assert isinstance(outcome, NeedFailed)


async def never() -> str:
    await anyio.sleep_forever()
    return ""


async def test_a_callback_through_a_forwarded_port_counts_as_well() -> None:
    listener = await listen("http://127.0.0.1/callback")
    async with asking(PastedSignIn(never, list[str]().append), listener) as outcomes:
        await come_back(listener)
    assert outcomes == [Callback("code=c&state=s")]


@contextmanager
def standard_input(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    reading, writing = os.pipe()
    with os.fdopen(reading) as file:
        monkeypatch.setattr(sys, "stdin", file)
        try:
            yield writing
        finally:
            os.close(writing)


async def test_a_line_is_read_beside_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    async def read() -> None:
        lines.append(await read_line())

    with standard_input(monkeypatch) as writing, patience():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            os.write(writing, b"code=c&st")
            os.write(writing, b"ate=s\n")
        assert lines == ["code=c&state=s\n"]
        with anyio.move_on_after(0):
            await read_line()  # nobody types: it can be cancelled


async def test_without_standard_streams_nothing_is_read_or_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert await read_line() == ""
    tell("to nobody")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("data", "line"), [(b"a b\nc", "a b\n"), (b"a", "a\n"), (b"", "")])
async def test_a_line_of_a_file(
    data: bytes, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        with patience():
            assert await read_line() == line
