"""Where an HTTP client connects to, and why it cannot."""

import os
import socket
import ssl
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream
from msgspec import Struct

_PORTS = {"http": 80, "https": 443}


class Failure(Exception):
    """An exchange that came to nothing; the message says why."""


class Origin(Struct, frozen=True):
    """Where to connect to."""

    host: str
    port: int
    ssl_context: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str, ssl_context: ssl.SSLContext | None = None) -> "Origin":
        """Take the origin from a URL.  Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"not an http or https URL: {url!r}")
        if parts.scheme == "http":
            ssl_context = None
        elif ssl_context is None:
            ssl_context = ssl.create_default_context()
        return cls(parts.hostname, parts.port or _PORTS[parts.scheme], ssl_context)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def connect(self, seconds: float) -> ByteStream:
        """Open a connection.  Raises :class:`Failure`."""
        try:
            with anyio.fail_after(seconds):
                if self.ssl_context is None:
                    return await anyio.connect_tcp(self.host, self.port)
                return await anyio.connect_tcp(
                    self.host,
                    self.port,
                    ssl_context=self.ssl_context,
                    tls_hostname=self.host,
                    tls_standard_compatible=False,
                )
        except TimeoutError:
            raise Failure(f"connecting to {self} took more than {seconds:g} s") from None
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", None) or error.reason or str(error)
            raise Failure(f"TLS with {self} failed: {reason}") from error
        except (anyio.BrokenResourceError, anyio.EndOfStream) as error:
            raise Failure(f"TLS with {self} failed: the server closed the connection") from error
        except OSError as error:
            raise Failure(f"{_reason(error)}: {self}") from error


def _reason(error: BaseException) -> str:
    """Say why a connection could not be opened; anyio hides the reason in the cause."""
    cause = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        return _reason(error.exceptions[0])
    if isinstance(error, OSError) and error.errno is not None:
        if isinstance(error, socket.gaierror):
            return "unknown host"
        return os.strerror(error.errno).lower()
    return str(error) if cause is None else _reason(cause)
