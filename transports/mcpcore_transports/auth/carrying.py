"""Needs of an authorization, carried out one by one by the drivers of this package."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Protocol, TypeVar

import anyio

from mcpcore.auth.needs import (
    Callback,
    Done,
    Fetch,
    Listen,
    Load,
    Lock,
    Need,
    NeedFailed,
    Obtain,
    OpenUrl,
    Outcome,
    Save,
    Sign,
    Signed,
    Steps,
    Text,
    Unlock,
)
from mcpcore.auth.urls import parse_url
from mcpcore.errors import AuthorizationError
from mcpcore_transports.auth.browser import SignIn
from mcpcore_transports.auth.callback import CallbackListener, listen
from mcpcore_transports.auth.fetching import Fetcher
from mcpcore_transports.auth.stores import TokenStore
from mcpcore_transports.running.functions import (
    called,
    failure_of,
    first_of,
    let_wait,
    without_messages,
)

logger = logging.getLogger("mcpcore.auth")

Assertions = Callable[[str], str | Awaitable[str]]
"""Function, or coroutine function, that returns an assertion for an issuer."""


class Signer(Protocol):
    """Private key: see :class:`mcpcore_transports.auth.signing.PrivateKey`."""

    def sign(self, data: bytes) -> bytes:
        """Return the raw signature of ``data``."""
        ...


T = TypeVar("T")


class FlowCarrier:
    """Drivers of one authorization, with the lock and the listener of the flow under way."""

    def __init__(
        self,
        fetcher: Fetcher,
        store: TokenStore,
        sign_in: SignIn,
        keys: Mapping[str, Signer],
        assertions: Assertions | None,
    ) -> None:
        self._fetcher = fetcher
        self._store = store
        self._sign_in = sign_in
        self._keys = keys
        self._assertions = assertions
        self._locks = AsyncExitStack()
        self._listener: CallbackListener | None = None

    async def aclose(self) -> None:
        """Release what a flow holds; another one may follow."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.aclose()
        try:
            await self._locks.aclose()
        except Exception as error:  # of a store of the application; the flow is over anyway
            logger.error("a lock was not released\n%s", without_messages(error))

    async def carry_out(self, need: Need) -> Outcome:
        """Carry out a need; a failure of any kind is an outcome."""
        try:
            return await self._carry_out(need)
        except BaseException as raised:
            failure = first_of(failure_of(raised))
            if isinstance(failure, AuthorizationError):
                return NeedFailed(str(failure))
            logger.debug("a need failed\n%s", without_messages(failure))
            return NeedFailed(f"{type(need).__name__.lower()}: {type(failure).__name__}")

    async def run(self, steps: Steps[T]) -> T:
        """Carry out steps to their end; return what they return.  No lock is left behind."""
        try:
            need = next(steps)
            while True:
                need = steps.send(await self.carry_out(need))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            with anyio.CancelScope(shield=True):
                await self.aclose()

    async def _carry_out(self, need: Need) -> Outcome:
        match need:
            case Fetch():
                return await self._fetcher.fetch(need)
            case Listen():
                return await self._listen(need)
            case OpenUrl():
                return await self._ask(need)
            case Load():
                return await self._store.load(need.key)
            case Save():
                return await self._store.save(need.key, need.record, need.version)
            case Lock():
                await self._locks.enter_async_context(self._store.lock(need.key))
                return Done()
            case Unlock():
                await self._locks.aclose()
                return Done()
            case Sign():
                return await self._sign(need)
            case Obtain():
                if self._assertions is None:
                    return NeedFailed("no assertion is at hand: give `assertions`")
                assertion: object = await called(self._assertions, need.audience)
                if not isinstance(assertion, str) or not assertion:
                    return NeedFailed("the function `assertions` has returned no text")
                return Text(assertion)

    async def _listen(self, need: Listen) -> Text:
        elsewhere = not parse_url(need.redirect_uri, "the redirect URI").loopback
        if elsewhere or getattr(self._sign_in, "own_page", False):
            return Text(need.redirect_uri)  # the URL of a page elsewhere is pasted
        self._listener = await listen(need.redirect_uri, patient=need.patient)
        return Text(self._listener.url)

    async def _ask(self, need: OpenUrl) -> Callback | NeedFailed:
        with anyio.move_on_after(need.timeout):
            return await self._sign_in.ask(need, self._listener)
        return NeedFailed(f"nobody signed in within {need.timeout:g} s")

    async def _sign(self, need: Sign) -> Signed | NeedFailed:
        """Sign with one of the keys, in a thread."""
        key = self._keys.get(need.signing.key)
        if key is None:
            return NeedFailed(f"there is no private key {need.signing.key!r}: give `keys`")
        # A device that asks a person holds up nobody who is cancelled, and no program that ends.
        signature: object = await let_wait(key.sign, need.input.text)
        if not isinstance(signature, bytes):
            return NeedFailed(f"the private key {need.signing.key!r} has made no signature")
        return Signed(signature)
