"""The reference client behind a gateway: ``python -m conformance.gateway.client URL``.

The kit plays its cases for clients against it: to the scripted server the gateway is the client,
with the settings and the authorization of the reference client.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
from anyio.from_thread import start_blocking_portal
from msgspec import structs

from mcpcore import Gateway, GatewaySettings, serve
from mcpcore_conformance.everything.client import REVISION, SCENARIO, context, main, settings_for
from mcpcore_conformance.everything.sign_in import PREFIX, signing_in
from mcpcore_transports.targets import HttpTarget

_START = 2.0
"""Seconds for the scripted server to tell its era; it may never do so."""


@asynccontextmanager
async def gateway(url: str) -> AsyncIterator[str]:
    """Run a gateway before a server, as the environment has it; its URL."""
    scenario, details = os.environ.get(SCENARIO, ""), context()
    client, target = settings_for(os.environ.get(REVISION), details), HttpTarget(url)
    if scenario.startswith(PREFIX):
        auth, client = signing_in(scenario, client, details)
        target = structs.replace(target, auth=auth)
    front = Gateway({"only": target}, settings=GatewaySettings(client=client, start_time=_START))
    urls: list[str] = []
    ready = anyio.Event()
    async with anyio.create_task_group() as group:
        offer = partial(serve, front, http="127.0.0.1:0", on_listening=urls.append)
        group.start_soon(partial(offer, on_ready=ready.set))
        await ready.wait()
        yield urls[0]
        group.cancel_scope.cancel()


if __name__ == "__main__":
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(gateway(sys.argv[-1])) as address,
    ):
        status = main([address])
    sys.exit(status)
