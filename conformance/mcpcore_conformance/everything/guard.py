"""A guard for the reference server: bearer tokens, and the metadata that a challenge points to.

Sources: RFC 6750 (bearer tokens), RFC 9728 (protected resource metadata), the authorization pages.
The tokens are given on the command line: this is for tests.
"""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from msgspec import Struct

from mcpcore import Authenticate, HttpRequest, Principal, Refusal, bearer_token
from mcpcore.http.principals import Verdict

PATH = "/.well-known/oauth-protected-resource"
AUTHORIZATION_SERVER = "https://auth.example.com"


class Metadata(Struct):
    """Where the metadata of the protected resource is, and which resource that is."""

    url: str
    resource: str = ""


def guarded_by(tokens: Collection[str], metadata: Metadata) -> Authenticate:
    """Let in whoever has one of the tokens; each is a principal of its own."""

    def authenticate(request: HttpRequest) -> Verdict:
        token = bearer_token(request)
        if token is not None and token in tokens:
            return Principal(f"token {sorted(tokens).index(token)}")
        given = any(name == b"authorization" for name, _ in request.headers)
        error = ', error="invalid_token"' if given else ""
        return Refusal(challenge=f'Bearer resource_metadata="{metadata.url}"{error}')

    return authenticate


@contextmanager
def metadata_server() -> Iterator[Metadata]:
    """Serve the metadata at an address of its own for as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = self.path == PATH
            found = {
                "resource": metadata.resource,
                "authorization_servers": [AUTHORIZATION_SERVER],
                "bearer_methods_supported": ["header"],
            }
            body = json.dumps(found if there else {"error": "not found"}).encode()
            self.send_response(200 if there else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    metadata = Metadata(f"http://127.0.0.1:{server.server_port}{PATH}")
    thread = Thread(target=server.serve_forever, name="metadata", daemon=True)
    thread.start()
    try:
        yield metadata
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
