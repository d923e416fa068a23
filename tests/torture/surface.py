"""Parameters that take functions of users, of everything that documentation imports.

Settings and what servers register are in :mod:`tests.torture.users`; here is the rest, found by the
types of parameters: functions, and methods of classes, that a page of the documentation imports.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Unpack, get_args, get_origin

from msgspec import Struct

from mcpcore.service import Server, handlers
from mcpcore_transports.client.client import Client
from mcpcore_transports.serve.workers import Supervisor
from mcpcore_transports.targets import HttpTarget, parse_target
from tests.torture.calls import modules
from tests.torture.users import SETTINGS, kinds

_ROOT = Path(__file__).parents[2]
_IMPORT = re.compile(
    r"^from (mcpcore|(?:mcpcore_transports|mcpcore\.service)[\w.]*) import (\([^)]*\)|.*)$",
    re.MULTILINE,
)
_BESIDE = (Client, HttpTarget, Supervisor, parse_target)
"""What is met with without being imported, or used by the command line."""


def shown() -> list[Any]:
    """What pages import, and what is met with beside it."""
    found: list[Any] = [*_BESIDE]
    for page in (_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))):
        for module, names in _IMPORT.findall(page.read_text()):
            for name in re.findall(r"\w+", names.partition("#")[0]):
                each = getattr(importlib.import_module(module), name)
                if callable(each) and inspect.getmodule(each) is not None and each not in found:
                    found.append(each)
    return found


@cache
def _aliases() -> frozenset[str]:
    """The names of types of functions, as modules give them."""
    return frozenset(
        name
        for module in (*modules().values(), handlers)
        for name, value in vars(module).items()
        if _is_protocol(value)
        or (get_origin(value) is not None and takes_function(value, frozenset({"Callable"})))
    )


def _is_protocol(hint: Any) -> bool:
    return isinstance(hint, type) and getattr(hint, "_is_protocol", False)


def takes_function(hint: Any, names: frozenset[str] | None = None) -> bool:
    """Whether it is a type of functions, or of objects with methods, or has one in it."""
    if _is_protocol(hint):
        return True
    if isinstance(hint, str) or hasattr(hint, "__forward_arg__"):
        text = hint if isinstance(hint, str) else hint.__forward_arg__
        names = _aliases() | {"Callable"} if names is None else names
        return not names.isdisjoint(re.findall(r"\w+", text))
    origin = get_origin(hint)
    if isinstance(origin, type) and issubclass(origin, Callable):  # type: ignore[arg-type]
        return True
    return any(takes_function(each, names) for each in get_args(hint))


def functions_of_users() -> set[str]:
    """Each parameter that takes a function, as in ``connect.middleware``."""
    return {name for each in shown() for name in _parameters(each)}


def _parameters(each: Any) -> Iterator[str]:
    if inspect.isfunction(each):
        yield from _of(each, each.__name__)
    elif isinstance(each, type) and issubclass(each, Struct):
        if each.__name__ in settings():
            return
        hints = {name: hint for kind in each.__mro__ for name, hint in _annotations(kind).items()}
        named = (name for name in each.__struct_fields__ if takes_function(hints.get(name)))
        yield from (f"{each.__name__}.{name}" for name in named)
    elif isinstance(each, type) and each.__module__.startswith("mcpcore"):
        yield from _of(inspect.getattr_static(each, "__init__"), each.__name__)
        for name, method in inspect.getmembers(each, inspect.isfunction):
            if not name.startswith("_") and not hasattr(Server, name):
                yield from _of(method, f"{each.__name__}.{name}")


def _annotations(kind: type) -> dict[str, Any]:
    return dict(vars(kind).get("__annotations__", {}))


def _of(function: Callable[..., Any], name: str) -> Iterator[str]:
    for each in inspect.signature(function).parameters.values():
        hints = {each.name: each.annotation}
        if get_origin(each.annotation) is Unpack:  # options that are declared once for several
            hints = get_args(each.annotation)[0].__annotations__
        yield from (f"{name}.{given}" for given, hint in hints.items() if takes_function(hint))


def settings() -> set[str]:
    """The names of the settings that are found by themselves, with those inside of them."""
    return {each.__name__ for kind in SETTINGS for each in kinds(kind)}


POINTS = {
    "Client.call_tool.progress": "_progressed",
    "Client.read_resource.progress": "_progressed",
    "Context.gather_inputs.progress": "_reported",
    "Context.remember.factory": "_made",
    "HttpTarget.headers": "headers",
    "Server.lifespan": "lifespan.open",
    "Supervisor.report": "Supervisor.report",
    "Supervisor.run.ready": "Supervisor.ready",
    "WebSocketTarget.headers": "headers",
    "asgi_app.principal": "_nobody_yet",
    "connect.middleware": "_stamped",
    "serve.custom": "serve.custom",
    "serve.on_listening": "serve.on_listening",
    "serve.on_ready": "serve.on_ready",
    "serve.on_stdio_begin": "_stdio_begins",
    "serve.on_stdio_end": "_stdio_ends",
}
"""What is given there, and the points that it is."""
MAKES_LINKS = "custom.make_link"
"""What a binding of somebody else's gives to who serves it, and what its links do."""

_OURS = "what is given there is ours"
_SAME = "it is kept and called as that which is a point"
_SIGNS_IN = "it has tests of its own, in which it fails: tests/transports/auth/test_auth_client.py"
_CLIENT = "an HTTP client of the user's: it fails by the calls that it makes"
_AUTHORIZED = "called within `authenticate`, which is a point; what it raises is logged"
_TESTED = "tests of features; it is called while a server or a store is made, or only reads a clock"
_GUARDING = (
    "it runs within the request, as middleware does: tests/transports/client/test_guarding.py"
)
_ROUND = (
    "it runs within the request, as middleware does: tests/transports/telemetry/test_telemetry.py"
)
_REPORT = "what it raises is logged: tests/transports/client/test_client_policies.py"
_DECLARED = "the functions of a server are those that it declares, which are points"
_LOGGED = "what it raises is logged: tests/transports/client/test_servers.py"
_HANDLER = "it is called in a handler: tests/transports/server/test_composing.py"
_PROGRAM = "in a program of its own it is called as with `serve`"

NO_POINTS: dict[str, str] = {
    **dict.fromkeys(
        (
            *("CallbackContext.report", "StreamConnection.app", "CustomTarget.make_link.app"),
            *("Config.has_tool", "Config.may_read", "Context.home", "Gateway.run.offer"),
        ),
        _OURS,
    ),
    **dict.fromkeys(
        (
            *("Client.get_prompt.progress", "Client.request.progress", "OutgoingRequest.progress"),
            *("Client.complete.progress", "Client.get_skill.progress"),
            *(f"Context.{name}.progress" for name in ("ask", "elicit", "elicit_url", "list_roots")),
            "Context.sample.progress",
            *("NotificationContext.ask.progress", "connect.headers", "parse_target.headers"),
            *("HttpEndpoint.serve_connection.make_link", "ServerOptions.middleware"),
            *("ServerOptions.auth", "wsgi_app.principal"),
        ),
        _SAME,
    ),
    **dict.fromkeys(
        (
            *("HttpEndpoint.server", "MemoryTarget.server", "asgi_app.server"),
            *("run.server", "serve.server", "wsgi_app.server"),
        ),
        _DECLARED,
    ),
    "connect.http_client": _CLIENT,
    "OutgoingRequest.on_round": _ROUND,
    **dict.fromkeys(
        ("connect.auth", "HttpTarget.auth", "WebSocketTarget.auth", "UpstreamTokens.keys"),
        _SIGNS_IN,
    ),
    "connect_all.report": _LOGGED,
    **dict.fromkeys(
        ("Gateway.authenticate.hook", "Gateway.run.offer"),
        "given by serve() itself, which offers the bindings",
    ),
    "Suspicion.tell": "called as the log is; it has tests of its own",
    "HttpSettings.pages": "called for a GET of its path alone; it has tests of its own",
    **dict.fromkeys(("MemoryStore.clock", "Server.validator"), _TESTED),
    **dict.fromkeys(
        ("ApiKeyScheme.wall", "CertificateScheme.wall", "ResourceServer.wall"), _TESTED
    ),
    **dict.fromkeys(("break_circuit.report", "retry_requests.report"), _REPORT),
    **dict.fromkeys(("guard_server.ask", "guard_server.report"), _GUARDING),
    **dict.fromkeys(
        (
            *("ApiKeyScheme.audit", "CertificateScheme.audit", "ResourceServer.audit"),
            "HttpServer.tell_refused.tell",
            *("BehindProxy.audit", "BehindProxy.scheme", "ResourceServer.replays"),
        ),
        _AUTHORIZED,
    ),
    **dict.fromkeys(
        (
            *("branch.cases", "branch.choose", "branch.default"),
            *("parallel.first", "parallel.others", "pipeline.first", "pipeline.others"),
        ),
        _HANDLER,
    ),
    **dict.fromkeys(("run.custom", "run.on_listening", "run.on_ready", "run.until"), _PROGRAM),
}
"""What is no point, and why."""
