"""Run the development authorization server: ``python -m mcpcore_conformance.auth --yes``.

It says ``listening on <issuer>`` on stderr.
"""

import argparse
import contextlib
import secrets
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import anyio
from msgspec.structs import replace

from mcpcore.auth.grants import EXCHANGE, JWT_BEARER, ClientAuth
from mcpcore.auth.keysets import Key, KeySetLimits, read_keys
from mcpcore.errors import DocumentRefused
from mcpcore_conformance.auth.keys import PrivateKey, verify
from mcpcore_conformance.auth.model import (
    CLIENT_CREDENTIALS,
    CODE,
    REFRESH,
    Client,
    ServerSettings,
    Trust,
    TrustedIssuer,
)
from mcpcore_conformance.auth.server import DevelopmentServer
from mcpcore_conformance.auth.serving import check_loopback, fetch_document, serve
from mcpcore_conformance.launch import ANNOUNCEMENT
from mcpcore_transports.tls import server_tls


def _client(text: str) -> Client:
    """Return the client of ``id:secret``, or of ``id:secret:redirect``."""
    name, _, rest = text.partition(":")
    secret, _, redirect = rest.partition(":")
    if not name or not secret:
        raise argparse.ArgumentTypeError("a client is ID:SECRET or ID:SECRET:REDIRECT_URI")
    grants = {CLIENT_CREDENTIALS, JWT_BEARER}
    return Client(
        client_id=name,
        method=ClientAuth.BASIC,
        secret=secret,
        redirect_uris=(redirect,) if redirect else (),
        grants=frozenset(grants | {CODE, REFRESH} if redirect else grants),
    )


def _keys(file: str) -> tuple[Key, ...]:
    """Return the keys of a file with a JWK set.  Raises ValueError, OSError."""
    try:
        return read_keys(Path(file).read_bytes(), KeySetLimits())
    except DocumentRefused as refused:
        raise ValueError(f"{file}: {refused}") from None


def _clients(options: argparse.Namespace) -> tuple[Client, ...]:
    """Return the clients: with secrets, keys and certificates, and as other issuers know them."""
    signing = [
        Client(
            client_id=name,
            method=ClientAuth.PRIVATE_KEY,
            keys=_keys(file),
            grants=frozenset({CLIENT_CREDENTIALS, JWT_BEARER}),
        )
        for name, file in options.client_key
    ]
    certified = [
        Client(
            client_id=name,
            method=ClientAuth.TLS,
            subject=subject,
            grants=frozenset({CLIENT_CREDENTIALS}),
        )
        for name, subject in options.client_certificate
    ]
    found = {client.client_id: client for client in (*options.client, *signing, *certified)}
    for name, issuer, there in options.known_as:
        if name not in found:
            raise ValueError(f"--known-as: there is no client {name}")
        client = found[name]
        known = {**client.known_as, issuer: there}
        found[name] = replace(client, known_as=known, grants=client.grants | {EXCHANGE})
    return tuple(found.values())


def _trusted(options: argparse.Namespace) -> tuple[TrustedIssuer, ...]:
    """Return the issuers of assertions."""
    kinds = {Trust.PROVIDER: options.trust_provider, Trust.WORKLOAD: options.trust_workload}
    return tuple(
        TrustedIssuer(issuer=issuer, kind=kind, keys=_keys(file))
        for kind, given in kinds.items()
        for issuer, file in given
    )


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    """Return the context of https, None for http.  Raises ValueError."""
    ca = options.tls_client_ca
    if bool(options.client_certificate) != (ca is not None) or (ca and not options.tls_cert):
        raise ValueError("--client-certificate needs --tls-client-ca, and that needs --tls-cert")
    if options.tls_cert is None:
        return None
    return server_tls(options.tls_cert, client_ca=ca, client_cert_required=False)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mcpcore_conformance.auth",
        description="Authorization server for development, on loopback only.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of loopback")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--yes", action="store_true", help="consent at once, without a page")
    parser.add_argument("--user", default="developer", help="person who is signed in")
    parser.add_argument("--scope", action="append", default=[], help="scope; none: any")
    parser.add_argument("--resource", action="append", default=[], help="resource; none: any")
    parser.add_argument(
        "--client", action="append", default=[], type=_client, help="ID:SECRET[:REDIRECT_URI]"
    )
    for flag, metavar, text in (
        ("--client-key", ("ID", "FILE"), "client with private_key_jwt, and its keys (JWK set)"),
        ("--client-certificate", ("ID", "SUBJECT"), "client with tls_client_auth (RFC 4514)"),
        ("--trust-provider", ("ISSUER", "FILE"), "take ID-JAGs signed by these keys (JWK set)"),
        ("--trust-workload", ("ISSUER", "FILE"), "take workload identities signed by these keys"),
        (
            "--known-as",
            ("ID", "ISSUER", "ID_THERE"),
            "exchange ID tokens of a --client for ID-JAGs to another issuer",
        ),
    ):
        parser.add_argument(
            flag, nargs=len(metavar), metavar=metavar, action="append", default=[], help=text
        )
    parser.add_argument(
        "--token-time", type=float, metavar="SECONDS", default=3600.0, help="lifetime of tokens"
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="serve https with it (PEM)")
    parser.add_argument(
        "--tls-client-ca", type=Path, metavar="FILE", help="of --client-certificate"
    )
    parser.add_argument("--nonces", action="store_true", help="demand nonces in DPoP proofs")
    parser.add_argument("--algorithm", choices=["ES256", "RS256"], default="ES256")
    parser.add_argument("--rotate", type=float, metavar="SECONDS", help="make new keys so often")
    options = parser.parse_args(arguments)
    try:
        check_loopback(options.host)
        if not 1 <= options.token_time <= 86_400:
            raise ValueError("--token-time: expected 1 to 86400 seconds")
        options.clients, options.trusted = _clients(options), _trusted(options)
        options.tls = _tls(options)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return options


def builder(options: argparse.Namespace) -> Callable[[str], DevelopmentServer]:
    """Return the function that makes the server for its issuer."""

    def build(issuer: str) -> DevelopmentServer:
        settings = ServerSettings(
            issuer=issuer,
            resources=tuple(options.resource),
            scopes=tuple(options.scope),
            clients=options.clients,
            trusted=options.trusted,
            token_time=options.token_time,
            user=options.user,
            consent=not options.yes,
            nonces=options.nonces,
            algorithm=options.algorithm,
        )
        keys = [PrivateKey.generate(options.algorithm)]
        random = secrets.token_bytes
        return DevelopmentServer(settings, keys, verify, random=random, fetch=fetch_document)

    return build


async def run(options: argparse.Namespace) -> None:
    """Serve until cancelled, with new keys from time to time."""
    async with anyio.create_task_group() as tasks:
        serving = partial(serve, builder(options), ssl_context=options.tls)
        server = await tasks.start(serving, options.host, options.port)
        print(f"{ANNOUNCEMENT}{server.settings.issuer}", file=sys.stderr, flush=True)
        while True:
            await anyio.sleep(options.rotate or 86_400)
            if options.rotate:
                try:
                    server.keys.rotate(PrivateKey.generate(options.algorithm), time.time())
                except ValueError as error:
                    print(f"the keys stay: {error}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        anyio.run(run, _options(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
