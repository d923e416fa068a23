"""TLS for both sides: contexts with safe settings, and one sentence for each failure.

TLS 1.2 or newer, certificates and host names checked, HTTP/1.1 as the application protocol.
Sources: RFC 9325 (versions), RFC 9110 section 4.3.4 (names), RFC 8446 section 4.4.2 (client
certificates).
"""

import os
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from anyio.streams.tls import TLSAttribute, TLSStream

from mcpcore.errors import BadTls
from mcpcore.http.principals import ClientCertificate, write_name

Path = str | os.PathLike[str]

_PIECE = 64 * 1024
_SSL_ERRORS = (ssl.SSLError, ssl.CertificateError)
_NO_PROBLEM = (ssl.SSLEOFError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def client_tls(
    *,
    ca: Path | Sequence[Path] | None = None,
    system_ca: bool | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    password: str | None = None,
) -> ssl.SSLContext:
    """Make the context of a client.

    ``ca``: files with the certificates of authorities (PEM), or folders of them as OpenSSL hashes
    them; the system's are trusted in addition only if ``system_ca`` is True, and by default if
    there is no ``ca``.  ``cert``, ``key`` and ``password``: our own certificate with its chain, for
    servers that ask for one; without ``key`` it is in the same file.

    Raises BadTls for files that cannot be used.
    """
    context = _hardened(ssl.PROTOCOL_TLS_CLIENT)
    trusts = _trust(context, ca)
    if system_ca or (system_ca is None and not trusts):
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    _identify(context, cert, key, password)
    return context


def server_tls(
    cert: Path,
    key: Path | None = None,
    *,
    password: str | None = None,
    client_ca: Path | Sequence[Path] | None = None,
    client_cert_required: bool = True,
) -> ssl.SSLContext:
    """Make the context of a server.

    ``cert``, ``key`` and ``password``: its certificate with its chain (PEM); without ``key`` that
    is in the same file.  With ``client_ca`` clients have to send a certificate of one of these
    authorities, or may, if ``client_cert_required`` is False.

    Raises BadTls for files that cannot be used.
    """
    context = _hardened(ssl.PROTOCOL_TLS_SERVER)
    _identify(context, cert, key, password)
    if _trust(context, client_ca):
        context.verify_mode = ssl.CERT_REQUIRED if client_cert_required else ssl.CERT_OPTIONAL
    return context


def client_certificate(stream: TLSStream) -> ClientCertificate | None:
    """Return the verified certificate that the client of ``stream`` has sent, None without one."""
    return shown_certificate(stream.extra(TLSAttribute.ssl_object))  # noqa: S610 - anyio's


def shown_certificate(connection: ssl.SSLObject | ssl.SSLSocket) -> ClientCertificate | None:
    """Return the verified certificate of the peer of a TLS connection, or None."""
    facts, der = connection.getpeercert(), connection.getpeercert(binary_form=True)
    if not facts or not der:  # without facts it was not verified
        return None
    subject: Any = facts.get("subject", ())
    names: Any = facts.get("subjectAltName", ())
    return ClientCertificate(
        subject=write_name(subject),
        der=der,
        names=tuple((kind, name) for kind, name in names if isinstance(name, str)),
    )


def read_all(connection: ssl.SSLObject, source: ssl.MemoryBIO, into: list[bytes]) -> bool:
    """Decrypt all of ``source`` ``into`` a list; return True at the end.  Raises ssl.SSLError."""
    try:
        while part := connection.read(_PIECE):
            into.append(part)
            if not (source.pending or connection.pending()):
                return False  # an exception instead would cost as much as decrypting
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLZeroReturnError:
        pass
    return True


def tls_problem(error: BaseException) -> str | None:
    """Return TLS's reason against a connection; None if ``error`` has another cause."""
    seen: BaseException | None = error
    while seen is not None and (not isinstance(seen, _SSL_ERRORS) or isinstance(seen, _NO_PROBLEM)):
        # Some HTTP clients cut the chain of causes, but not that of contexts.
        seen = seen.__cause__ or seen.__context__
    if not isinstance(seen, ssl.SSLError):
        return None
    if isinstance(seen, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {seen.verify_message}"
    reason = str(seen.reason or seen).replace("_", " ").lower()
    if seen.reason and "ALERT" in seen.reason:
        return f"it refused: {reason}"
    return reason


def _hardened(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def _trust(context: ssl.SSLContext, authorities: Path | Sequence[Path] | None) -> bool:
    """Trust authorities; return False if there are none."""
    given = [authorities] if isinstance(authorities, str | os.PathLike) else authorities or ()
    for path in given:
        try:
            if os.path.isdir(path):
                context.load_verify_locations(capath=os.fspath(path))
            else:
                context.load_verify_locations(cafile=os.fspath(path))
        except (OSError, ValueError) as error:
            raise BadTls(f"the authorities in {os.fspath(path)!r}: {_reason(error)}") from None
    return bool(given)


def _identify(
    context: ssl.SSLContext, cert: Path | None, key: Path | None, password: str | None
) -> None:
    if cert is None:
        if key is not None:
            raise BadTls("a key without its certificate")
        return
    try:
        # Without a password OpenSSL would ask for it on the terminal.
        context.load_cert_chain(cert, key, password=password or _no_password)
    except _NoPassword:
        raise BadTls(f"the key of {os.fspath(cert)!r} is encrypted; give its password") from None
    except (OSError, ValueError) as error:
        files = os.fspath(cert) if key is None else f"{os.fspath(cert)} and {os.fspath(key)}"
        raise BadTls(f"the certificate and key in {files!r}: {_reason(error)}") from None


class _NoPassword(Exception):
    pass


def _no_password() -> str:
    raise _NoPassword


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "not PEM").replace("_", " ").lower()
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return str(error)


class ServerTls:
    """Server side of TLS on one connection: bytes in, bytes out.

    asyncio has such a layer too, but its handling of the ends of a connection is not enough here:
    it leaves unsent the alert that tells why a handshake has failed, and the data that a client
    sends after a refusal cannot be read to its end.
    """

    __slots__ = ("_connection", "_in", "_out", "established", "over", "untaken")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._connection = context.wrap_bio(self._in, self._out, server_side=True)
        self.established = False
        """True once the handshake is complete."""
        self.over = False
        """True once the client has announced the end of its data."""
        self.untaken = 0
        """Bytes of :meth:`pending` that the client has not taken; counted by the caller."""

    def receive(self, data: bytes | memoryview) -> bytes:
        """Take received bytes; return the decrypted data.  Look at :meth:`pending` afterwards.

        Raises ssl.SSLError for input that is refused; then there may be pending output, too.
        """
        self._in.write(data)
        parts: list[bytes] = []
        try:
            if not self.established:
                self._connection.do_handshake()
                self.established = True
            self.over = read_all(self._connection, self._in, parts)
        except ssl.SSLWantReadError:
            pass  # of the handshake
        return b"".join(parts)

    def pending(self) -> bytes:
        """Take and return the bytes to be sent."""
        return self._out.read()

    def send(self, data: bytes | memoryview) -> bytes:
        """Return the bytes to be sent for ``data``, with those pending."""
        self._connection.write(data)
        return self._out.read()

    def finish(self) -> bytes:
        """Return the close alert (RFC 8446 section 6.1); empty at the second call."""
        with suppress(ssl.SSLError):  # the client's own end is not waited for
            self._connection.unwrap()
        return self._out.read()

    def certificate(self) -> ClientCertificate | None:
        """Return the verified certificate of the client, once established."""
        return shown_certificate(self._connection)
