"""Access tokens for a protected server: the load generator is their issuer, and serves its keys."""

import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from msgspec import Struct

from mcpcore_bench.load.jobs import Bearer
from mcpcore_bench.programs.offer import AUDIENCE

FRESH = 1024
"""Different tokens, which take turns: more than the measured servers remember."""
HOLE = b"%TOKEN%"
"""Where the token stands in a request."""
LIFETIME = 86_400


class Issued(Struct, frozen=True):
    """Tokens, and the URL of their issuer; its keys are at ``/jwks`` there."""

    issuer: str = ""
    tokens: tuple[bytes, ...] = ()


@contextmanager
def issued(bearer: Bearer) -> Iterator[Issued]:
    """Make the tokens that requests bring, and serve the key for as long as the context lasts."""
    if not bearer:
        yield Issued()
        return
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256

    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_numbers()
    jwk = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig"}
    for name, number in (("n", public.n), ("e", public.e)):
        jwk[name] = _text(number.to_bytes((number.bit_length() + 7) // 8))
    body = json.dumps({"keys": [jwk]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/jwks" else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    def token(number: int) -> bytes:
        claims = {
            "iss": url,
            "sub": "somebody",
            "aud": AUDIENCE,
            "client_id": "load",
            "iat": now,
            "exp": now + LIFETIME,
            "jti": f"{number}-{secrets.token_hex(8)}",
            "scope": "tools",
        }
        header = {"alg": "RS256", "typ": "at+jwt", "kid": "1"}
        text = ".".join(_text(json.dumps(part).encode()) for part in (header, claims))
        return f"{text}.{_text(key.sign(text.encode(), padding.PKCS1v15(), SHA256()))}".encode()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url, now = f"http://127.0.0.1:{server.server_port}", int(time.time())
    thread = Thread(target=server.serve_forever, name="keys", daemon=True)
    thread.start()
    try:
        yield Issued(url, tuple(token(each) for each in range(FRESH if bearer == "fresh" else 1)))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
