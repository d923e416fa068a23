"""Sign-in of a person: by the browser of this machine, or by the one of another.

No shell ever sees a URL (CVE-2025-6514), and only URLs without characters that one reads are
opened.  A URL is printed as well, as a browser may not open.

Sources: RFC 8252 section 7.3; the security best practices page (opening of URLs).
"""

import inspect
import os
import re
import sys
import webbrowser
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

import anyio
import anyio.lowlevel
import anyio.to_thread

from mcpcore.auth.needs import Callback, NeedFailed, OpenUrl
from mcpcore.auth.urls import parse_url
from mcpcore.errors import UrlRefused
from mcpcore_transports.auth.callback import CallbackListener, has_state
from mcpcore_transports.running.functions import let_wait

_OPENED = re.compile(r"https?://[0-9A-Za-z\-._~:/?@&,+=%]{1,16384}", re.ASCII)
_MAX_LINE = 16 * 1024
_ATTEMPTS = 3
"""Lines that may be pasted."""

_turns = anyio.lowlevel.RunVar[anyio.Lock]("mcpcore.pasting")
"""Turn of a sign-in at the standard input, by event loop."""

Opener = Callable[[str], bool]
"""Function that opens a URL in a browser; it returns False if there is none."""
Writer = Callable[[str], None]
Reader = Callable[[], Awaitable[str]]


class SignIn(Protocol):
    """Way to send a person to the authorization server, and to learn what came back.

    One with an attribute ``own_page`` that is true takes the callback itself: nobody listens for it
    at a redirect URI on loopback.
    """

    async def ask(self, need: OpenUrl, listener: CallbackListener | None) -> Callback | NeedFailed:
        """Return the callback.  ``listener``: where it arrives, None if nobody listens."""
        ...


class BrowserSignIn:
    """Sign-in by the browser of this machine, which comes back to the listener.

    Raises TypeError for a coroutine function as ``opener``: no browser would open.
    """

    def __init__(self, opener: Opener = webbrowser.open, write: Writer | None = None) -> None:
        if inspect.iscoroutinefunction(opener):
            raise TypeError("opener is a coroutine function: it is called in a thread of its own")
        self._opener = opener
        self._write = write or tell

    async def ask(self, need: OpenUrl, listener: CallbackListener | None) -> Callback | NeedFailed:
        """Implement :meth:`SignIn.ask`."""
        if listener is None:
            return NeedFailed(
                "nobody listens at the redirect URI, which is not on this machine: have the URL "
                "that the browser ends at pasted (--no-browser, PastedSignIn)"
            )
        url = checked(need.url)
        self._write(f"Sign in at this URL, if no browser opens:\n{url}\n")

        async def open_it() -> None:
            try:
                await let_wait(self._opener, url)  # some return when the browser is closed
            except Exception as error:  # of whatever is there to open URLs
                self._write(f"No browser could be opened ({type(error).__name__}).\n")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_it)
            query = await listener.wait(need.state)
            tasks.cancel_scope.cancel()
        return Callback(query)


class PastedSignIn:
    """Sign-in by the browser of another machine, whose last URL is pasted here.

    A callback that arrives nevertheless, through a forwarded port, counts as well.
    """

    def __init__(self, read: Reader | None = None, write: Writer | None = None) -> None:
        self._read = read or read_line
        self._write = write or tell

    async def ask(self, need: OpenUrl, listener: CallbackListener | None) -> Callback | NeedFailed:
        """Implement :meth:`SignIn.ask`; several ask one after the other."""
        async with _turn():
            return await self._ask(need, listener)

    async def _ask(self, need: OpenUrl, listener: CallbackListener | None) -> Callback | NeedFailed:
        self._write(
            f"Sign in at this URL:\n{checked(need.url)}\n"
            "Then paste the URL that the browser ends at:\n"
        )
        found: list[Callback | NeedFailed] = []

        async def receive(waiting: CallbackListener) -> None:
            found.append(Callback(await waiting.wait(need.state)))
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            if listener is not None:
                tasks.start_soon(receive, listener)
            found.append(await self._pasted(need))
            tasks.cancel_scope.cancel()
        return found[0]

    async def _pasted(self, need: OpenUrl) -> Callback | NeedFailed:
        """Return the callback that was pasted."""
        for _ in range(_ATTEMPTS):
            line = await self._read()
            if not line:
                return NeedFailed("nothing was pasted")
            query = pasted_query(line, need.redirect_uri)
            if query is not None and has_state(query, need.state):
                return Callback(query)
            self._write("That is not the answer to this sign-in; paste the whole URL:\n")
        return NeedFailed(f"{_ATTEMPTS} texts were pasted that were no answer to this sign-in")


class NoSignIn:
    """Sign-in of nobody, for ``reason``: stored tokens are used and refreshed, no more."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def ask(self, need: OpenUrl, listener: CallbackListener | None) -> Callback | NeedFailed:
        """Implement :meth:`SignIn.ask`."""
        scopes = dict(parse_qsl(urlsplit(need.url).query)).get("scope")
        wanted = f"scopes that are wanted: {scopes}; " if scopes else ""
        return NeedFailed(f"{wanted}{self._reason}")


def chosen_sign_in(browser: bool | None) -> SignIn:
    """Return the way to sign in with a browser of this machine, of another, or the usual one."""
    if browser is None:
        return usual_sign_in()
    return BrowserSignIn() if browser else PastedSignIn()


def usual_sign_in(
    environ: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> BrowserSignIn | PastedSignIn:
    """Return the way to sign in that fits this machine."""
    return PastedSignIn() if is_headless(environ, platform) else BrowserSignIn()


def is_headless(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Return True if no browser can be opened that the person sees."""
    if any(environ.get(name) for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")):
        return True
    if platform in ("win32", "darwin", "cygwin"):
        return False
    return not any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def checked(url: str) -> str:
    """Return a URL that may be opened.  Raises UrlRefused."""
    if not _OPENED.fullmatch(url):
        raise UrlRefused("the URL of the sign-in", "it is not plain http or https")
    return url


def pasted_query(text: str, redirect_uri: str) -> str | None:
    """Return the query of a pasted URL, or one that was pasted alone; None for other text."""
    words = text.split()
    if len(words) != 1:
        return None
    base, mark, query = words[0].partition("#")[0].partition("?")
    if not mark:
        return base if base.startswith(("code=", "state=", "iss=", "error=")) else None
    try:
        here = not base or _place(base) == _place(redirect_uri)
    except UrlRefused:
        return None
    return query if here else None


def _place(text: str) -> tuple[str, str]:
    """Return origin and path of a URL, as a browser shows it.  Raises UrlRefused."""
    url = parse_url(text, "the URL")
    return url.origin, url.path or "/"


def _turn() -> anyio.Lock:
    try:
        return _turns.get()
    except LookupError:
        _turns.set(made := anyio.Lock())
        return made


async def read_line() -> str:
    """Return a line of the standard input without blocking the event loop; "" at its end."""
    if sys.stdin is None:
        return ""
    if os.name != "posix":
        return await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    handle, data = sys.stdin.fileno(), b""
    while b"\n" not in data and len(data) < _MAX_LINE:
        with suppress(PermissionError):  # of a file, which is always ready
            await anyio.wait_readable(handle)
        piece = os.read(handle, _MAX_LINE)
        if not piece:
            break
        data += piece
    return data.partition(b"\n")[0].decode(errors="replace") + ("\n" if data else "")


def tell(text: str) -> None:
    """Print a text for the person; the standard output may be that of a protocol."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, end="", flush=True)
