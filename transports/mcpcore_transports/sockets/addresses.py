"""Addresses to listen on, as text."""

from mcpcore.errors import BadTarget


def parse_address(text: str) -> tuple[str, int]:
    """Split ``HOST:PORT``, ``[v6]:PORT``, ``:PORT`` or ``PORT``; the default host is loopback.

    Raises :class:`BadTarget`.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = "", text
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) < 2**16):
        raise BadTarget(f"{text!r} is not an address: expected HOST:PORT with a port up to 65535")
    return host, int(port)


def authority(host: str, port: int | None = None) -> str:
    """Return a host, with a port if there is one, as in a URL."""
    name = f"[{host}]" if ":" in host else host
    return name if port is None else f"{name}:{port}"
