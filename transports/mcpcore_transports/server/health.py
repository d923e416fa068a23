"""Health checks of the application: run in turn, their failures told to the HTTP server."""

import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from mcpcore.errors import HandlerError
from mcpcore.service.handlers import HealthCheck
from mcpcore_transports.running.functions import failure_of, in_handler, is_awaitable

if TYPE_CHECKING:  # late: stdio needs no HTTP; the second imports this module
    from mcpcore.http.server.server import HttpServer
    from mcpcore_transports.server.runtime import ServerRuntime

logger = logging.getLogger("mcpcore.health")

Attempt = Callable[[], Awaitable[object]]


async def watch_health(
    runtime: "ServerRuntime", machine: "HttpServer", checks: Mapping[str, HealthCheck]
) -> None:
    """Run all checks at once, again and again, and keep ``machine.failing`` up to date."""
    machine.failing = dict.fromkeys(checks, "not checked yet")
    interval, timeout = runtime.settings.health_interval, runtime.settings.health_timeout
    attempts = {name: _attempt(runtime, check) for name, check in checks.items()}
    before: dict[str, str] = {}
    while True:
        found: dict[str, str] = {}
        async with anyio.create_task_group() as tasks:
            for name, attempt in attempts.items():
                tasks.start_soon(_check, name, attempt, timeout, found)
        for name in found.keys() - before.keys():
            logger.warning("the health check %s fails: %s", name, found[name])
        for name in before.keys() - found.keys():
            logger.info("the health check %s is well", name)
        machine.failing = before = found
        await anyio.sleep(interval)


def _attempt(runtime: "ServerRuntime", check: HealthCheck) -> Attempt:
    """Return a function that runs the check once."""
    function: Callable[[], object] = check.function
    if check.takes_lifespan:
        value = runtime.mounted_lifespans.get(check.server, runtime.lifespan)
        function = partial(check.function, value)
    if check.is_async:
        return function  # type: ignore[return-value]
    running = threading.Lock()

    def run() -> object:
        if not running.acquire(blocking=False):  # else threads that do not end become many
            raise HandlerError("has not ended yet")
        try:
            found = function()
            if is_awaitable(found):
                raise HandlerError("returns an awaitable, and is no coroutine function")
            return found
        finally:
            running.release()

    return partial(anyio.to_thread.run_sync, run, abandon_on_cancel=True)


async def _check(name: str, attempt: Attempt, timeout: float, found: dict[str, str]) -> None:
    """Run a check; note in ``found`` why it has failed, if it has."""
    found[name] = f"took longer than {timeout:g} s"
    with anyio.move_on_after(timeout):
        try:
            with in_handler():
                value = await attempt()
        except BaseException as error:
            failure = failure_of(error)
            logger.debug("the health check %s", name, exc_info=failure)
            found[name] = str(failure) if isinstance(failure, HandlerError) else "failed"
        else:
            found.pop(name)
            if value is False:
                found[name] = "failed"
