"""Two Peers joined in one process: bytes go over as they would on a pipe, with nothing between.

:class:`MemoryPair` needs no event loop: one call moves everything until both sides are quiet.
:func:`memory_links` joins two links in one event loop; a message costs no task, queue or lock.
"""

import anyio

from mcpcore.engine.peer import Peer
from transports.link import App, clock
from transports.pump import Connection, PumpSettings


class MemoryPair:
    """A client and a server Peer, pumped by hand."""

    def __init__(self, client: Peer, client_app: App, server: Peer, server_app: App) -> None:
        self.client, self.client_app = client, client_app
        self.server, self.server_app = server, server_app

    def pump(self, now: float | None = None) -> int:
        """Move what there is, and what follows from it, until both are quiet; bytes moved."""
        now = clock() if now is None else now
        client, server = self.client, self.server
        to_client, to_server = self.client_app.handle, self.server_app.handle
        total = 0
        while True:
            while (event := client.next_event()) is not None:
                to_client(event)
            if data := client.lines_to_send():
                server.receive_data(data, now=now)
                total += len(data)
            while (event := server.next_event()) is not None:
                to_server(event)
            if not (data := server.lines_to_send()):
                return total
            client.receive_data(data, now=now)
            total += len(data)

    def deadline(self) -> float | None:
        """When :meth:`handle_timeout` is due."""
        due = [d for d in (self.client.deadline(), self.server.deadline()) if d is not None]
        return min(due, default=None)

    def handle_timeout(self, now: float) -> None:
        """Let time pass on both sides; then :meth:`pump`."""
        self.client.handle_timeout(now)
        self.server.handle_timeout(now)

    def close(self, now: float | None = None) -> None:
        """Part the two: each has its terminal events when this returns."""
        now = clock() if now is None else now
        for peer, app in ((self.client, self.client_app), (self.server, self.server_app)):
            peer.receive_eof(now=now)
            while (event := peer.next_event()) is not None:
                app.handle(event)


class MemoryLink(Connection):
    """One end of a joined pair; made by :func:`memory_links`.

    Sending hands the bytes to the other end and turns it at once, in the same task.
    """

    _other: "MemoryLink"

    def __init__(self, peer: Peer, app: App, *, settings: PumpSettings | None = None) -> None:
        super().__init__(peer, app, settings=settings)
        self._parted = anyio.Event()

    def _send_nowait(self, data: bytes) -> int:
        self._other._arrived(data)
        return len(data)

    def _arrived(self, data: bytes) -> None:
        if self._state == "ended":
            raise BrokenPipeError
        self._feed(data)
        if self._state != "new":
            try:
                self._turn()
            except Exception as error:  # our application's, in a task of the other end
                self._fail(error)

    async def _receive(self) -> bytes:
        await self._parted.wait()
        return b""

    async def _close(self) -> None:
        self._other._parted.set()


def memory_links(
    client: tuple[Peer, App],
    server: tuple[Peer, App],
    *,
    settings: PumpSettings | None = None,
) -> tuple[MemoryLink, MemoryLink]:
    """Join two Peers in one event loop: the client's link and the server's; run both."""
    ours, theirs = MemoryLink(*client, settings=settings), MemoryLink(*server, settings=settings)
    ours._other, theirs._other = theirs, ours
    return ours, theirs
