"""Our client, as the cells see it: ``python -m conformance.real.our_client``.

See :func:`conformance.real.cells.main` for the arguments.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import structs

from conformance.interop.our_client import OurCaller
from conformance.real.cells import main
from mcpcore import Treatment, TrustSettings, connect, guard_server


@asynccontextmanager
async def open_ours(target: str | list[str], *, revision: str | None) -> AsyncIterator[OurCaller]:
    """Connect; without ``revision`` the newest is found.

    A declaration that raises a false alarm is not listed, and its cell is red.
    """
    caller = OurCaller({}, target if isinstance(target, str) else None)
    screening = guard_server(TrustSettings(descriptions=Treatment.BLOCK))
    async with connect(
        target, callbacks=caller.callbacks, revision=revision, middleware=[screening]
    ) as client:
        caller.client = client
        caller.facts = structs.asdict(client.revision)
        yield caller


if __name__ == "__main__":
    sys.exit(main(open_ours))
