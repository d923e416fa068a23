"""What a client that signs in does at a protected server: one cell for each step.

The standard library and anyio alone: the programs of other libraries have it too.

A protected server has the tools ``whoami`` (the subject of the token), ``serial`` (its ``jti``) and
``expire`` (the token is refused from now on).  A server with scopes of tools has ``write`` as well,
whose scope is granted to whoever asks, and ``purge``, whose scope nobody is granted.
"""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from urllib.parse import parse_qsl, urlsplit

import anyio
import anyio.to_thread

from conformance.interop.drivers.features import Cell
from mcpcore_conformance.everything.browse import redirect_of

READ, WRITE, ADMIN = "notes:read", "notes:write", "notes:admin"
"""Scope of every request, of ``write``, and of ``purge``."""
USER = "developer"
FORBIDDEN = 1004
"""Code of the error for which a client that does not authorize itself again takes a 403 of ours."""
STEPS = ("sign in", "tools/call", "step up", "refresh", "refused")
MOST_ASKED = 4
"""Times that a person may be asked: to sign in, and three times for one operation."""
PATIENCE = 60.0
"""Seconds for a step."""


class NotAuthorized(Exception):
    """The client says that it is not authorized, in its own words."""


class SignedIn(ABC):
    """Connection of a client that signs in by itself, and its person."""

    def __init__(self) -> None:
        self.asked = 0
        """Times that the person was asked."""

    @abstractmethod
    async def call(self, tool: str) -> str:
        """Call a tool without arguments.  Raises NotAuthorized."""

    @abstractmethod
    async def expire(self) -> None:
        """Have the token expire: the client that is to refresh notices in its own way."""

    async def consent(self, url: str) -> dict[str, str]:
        """Return the parameters that the browser comes back with: the person consents at once."""
        self.asked += 1
        location = await anyio.to_thread.run_sync(redirect_of, url)
        if location is None:
            raise AssertionError("the authorization endpoint did not redirect")
        return dict(parse_qsl(urlsplit(location).query))


Connect = Callable[[str], AbstractAsyncContextManager[SignedIn]]
"""Connects to a URL.  Raises NotAuthorized."""


async def _call(client: SignedIn) -> str:
    user = await client.call("whoami")
    assert user == USER, f"the token is for {user!r}"
    return f"as {user}"


async def _step_up(client: SignedIn) -> str:
    before = client.asked
    said = await client.call("write")
    assert said == "written", f"unexpected: {said!r}"
    assert client.asked == before + 1, f"asked {client.asked - before} times"
    return f"403, asked for {WRITE}, then 200"


async def _refresh(client: SignedIn) -> str:
    before, asked = await client.call("serial"), client.asked
    await client.expire()
    after = await client.call("serial")
    assert before != after, "the token is the same"
    assert client.asked == asked, "the person was asked"
    return "a new token, and nobody was asked"


async def _refused(connect: Connect, url: str, tool: str) -> str:
    """Be refused, on a connection of its own: some clients lose the connection by it."""
    met: list[SignedIn] = []
    try:
        async with connect(url) as client:
            met.append(client)
            text = await client.call(tool)
    except NotAuthorized as refused:
        asked = sum(client.asked for client in met)
        assert asked <= MOST_ASKED, f"the person was asked {asked} times"
        return f"{ADMIN} is not granted: {refused}"
    raise AssertionError(f"unexpected: {text!r}")


async def _tried(step: str, work: Callable[[], Awaitable[str]]) -> Cell:
    try:
        with anyio.fail_after(PATIENCE):
            return Cell(step, "ok", await work())
    except AssertionError as error:
        return Cell(step, "failed", str(error))
    except Exception as error:
        return Cell(step, "failed", said(error))


async def visit(
    connect: Connect, url: str, strict: str | None, tell: Callable[[Cell], object]
) -> None:
    """Take all steps; one cell for each.

    ``strict``: URL of a server whose requests all need a scope that is not granted; None: the
    server has scopes of tools.
    """

    async def entered() -> str:
        await client.call("serial")
        assert client.asked == 1, f"the person was asked {client.asked} times"
        return "the person was asked once"

    async with connect(url) as client:
        tell(await _tried("sign in", entered))
        tell(await _tried("tools/call", lambda: _call(client)))
        if strict is None:
            tell(await _tried("step up", lambda: _step_up(client)))
        tell(await _tried("refresh", lambda: _refresh(client)))
    shut, tool = (url, "purge") if strict is None else (strict, "whoami")
    tell(await _tried("refused", lambda: _refused(connect, shut, tool)))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in groups, one by one."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error


def said(error: BaseException) -> str:
    """What an exception, or the first of a group, says."""
    first = next(leaves(error))
    return f"{type(first).__name__}: {first}"


def main(connect_to: Callable[[str, str | None], AbstractAsyncContextManager[SignedIn]]) -> int:
    """Visit the server that the command line names; one line of JSON for each step.

    ``connect_to``: connects to a URL in a revision, None: it finds out.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--strict", metavar="URL", help="server that lets nobody in")
    parser.add_argument("--revision", help="to speak, where the client is to be told")
    chosen = parser.parse_args()

    def connect(url: str) -> AbstractAsyncContextManager[SignedIn]:
        return connect_to(url, chosen.revision)

    def tell(cell: Cell) -> None:
        print(cell.line(), flush=True)

    anyio.run(visit, connect, chosen.url, chosen.strict, tell)
    return 0
