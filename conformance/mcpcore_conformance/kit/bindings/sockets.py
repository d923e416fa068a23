"""A server behind a TCP or Unix socket: messages are lines."""

import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
from anyio.abc import ByteStream

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.bindings.lines import LinesWire
from mcpcore_conformance.kit.bindings.staging import Staging
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.unreachable import reason_of
from mcpcore_conformance.kit.wire import Refused


class SocketStage(Staging):
    """Reaches ``tcp://HOST:PORT`` (``tls`` with TLS) or ``unix:///PATH``."""

    def __init__(self, target: str, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        parts = urlsplit(target)
        self.target = target
        self._path = unquote(parts.path)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 0)
        self.binding = Binding.UNIX if parts.scheme == "unix" else Binding.TCP
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "tls" else None

    async def connect(self, revision: Revision, *, log: Log, **_options: Any) -> LinesWire:
        """Open a connection."""
        try:
            with anyio.fail_after(self.patience):
                stream = await self._open()
        except (OSError, TimeoutError) as error:
            raise Refused(f"{self.target}: {reason_of(error)}") from error
        wire = LinesWire(self, self.binding, stream, log)
        self.tasks.start_soon(wire.read)
        return wire

    async def _open(self) -> ByteStream:
        if self.binding is Binding.UNIX:
            return await anyio.connect_unix(self._path)
        if self._tls is None:
            return await anyio.connect_tcp(*self._address)
        return await anyio.connect_tcp(*self._address, tls=True, ssl_context=self._tls)
