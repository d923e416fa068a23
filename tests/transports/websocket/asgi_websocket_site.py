"""What is served behind ASGI in tests of WebSocket beside Streamable HTTP.

``app`` is the application alone, ``mounted`` the same inside of Starlette.  Who says nothing of
himself is nobody; who offers a token must offer the right one.
"""

from msgspec import structs
from starlette.applications import Starlette
from starlette.routing import Mount

from mcpcore.engine.config import Limits
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal, Verdict, bearer_token
from mcpcore_transports.serve.asgi import asgi_app
from mcpcore_transports.server.settings import RuntimeSettings
from tests.transports.asgi_site import principal, server, settings

TOKEN = "s3cret"
LARGEST = 100_000


def check(request: HttpRequest) -> Verdict:
    token = bearer_token(request)
    if token is None:
        return Refusal(status=403, message="bring a token") if _stranger(request) else ANYBODY
    return Principal("ann") if token == TOKEN else Refusal(challenge='Bearer error="invalid_token"')


def _stranger(request: HttpRequest) -> bool:
    return any(name == b"x-stranger" for name, _ in request.headers)


ANYBODY = Principal("anybody")

shared = structs.replace(
    settings,
    shared=True,
    runtime=RuntimeSettings(limits=Limits(message_size=LARGEST)),
    http_link=structs.replace(settings.http_link, authenticate=check),
)
app = asgi_app(server, settings=shared, principal=principal)
mounted = Starlette(routes=[Mount("/inner", app=app)])
