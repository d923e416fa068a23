"""Functions that users give to the library, found by types.

A field of a configuration that takes a function, or an object of a protocol, is found by its type;
what is in it is made to fail as any other function of the user's.  So is what a server registers.
"""

import inspect
import ssl
import types
import typing
from collections.abc import Callable, Iterator
from functools import cache, wraps
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from msgspec import Struct, structs

from mcpcore import HttpRequest, Server
from mcpcore.engine.seal import Seal
from mcpcore.policy.rates import RateLimiter
from mcpcore_transports.auth.browser import SignIn
from mcpcore_transports.auth.carrying import Assertions, Signer
from mcpcore_transports.auth.stores import TokenStore
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.serve.settings import ServeSettings
from mcpcore_transports.server.middleware import ServerMiddleware
from mcpcore_transports.stores.base import Store
from mcpcore_transports.stream.settings import ProcessSettings, SocketSettings
from mcpcore_transports.tracing.tracing import Trace
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.torture.functions import Fallible, fallible

S = TypeVar("S", bound=Struct)

_LATER = {
    "Assertions": Assertions,
    "HttpRequest": HttpRequest,
    "ProcessSettings": ProcessSettings,
    "RateLimiter": RateLimiter,
    "Seal": Seal,
    "ServerMiddleware": ServerMiddleware,
    "SignIn": SignIn,
    "Signer": Signer,
    "SocketSettings": SocketSettings,
    "Store": Store,
    "TokenStore": TokenStore,
    "Trace": Trace,
    "WebSocketSettings": WebSocketSettings,
    "ssl": ssl,
}
"""What settings name without importing it."""


def _parts(hint: Any) -> Iterator[Any]:
    """The members of a union, or the type alone."""
    if get_origin(hint) in (typing.Union, types.UnionType):
        for each in get_args(hint):
            yield from _parts(each)
    elif get_origin(hint) is typing.Annotated:
        yield from _parts(get_args(hint)[0])
    else:
        yield hint


def _is_function(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Callable)  # type: ignore[arg-type]


def _elements(hint: Any) -> Any:
    """What a tuple of any length has, or the type itself."""
    return get_args(hint)[0] if get_origin(hint) is tuple and get_args(hint) else hint


@cache
def fields_of_users(kind: type[Struct]) -> dict[str, str]:
    """The fields of a configuration that users give functions in: name, to what that is."""
    found: dict[str, str] = {}
    hints = get_type_hints(kind, localns=_LATER)
    for name in kind.__struct_fields__:
        for hint in _parts(hints[name]):
            inner = _elements(hint)
            if any(map(_is_function, _parts(inner))):
                found[name] = "function" if inner is hint else "functions"
            elif getattr(inner, "_is_protocol", False):
                found[name] = "object"
            elif isinstance(inner, type) and issubclass(inner, Struct) and fields_of_users(inner):
                found.setdefault(name, "settings")
    return found


def all_fields(kind: type[Struct], under: str = "") -> Iterator[str]:
    """What all of it is called, with the settings inside of it, as in ``socket.authenticate``."""
    hints = get_type_hints(kind, localns=_LATER)
    for name, what in fields_of_users(kind).items():
        if what != "settings":
            yield f"{under}{name}"
            continue
        for hint in _parts(hints[name]):
            if isinstance(hint, type) and issubclass(hint, Struct):
                yield from all_fields(hint, f"{under}{name}.")


def kinds(kind: type[Struct]) -> Iterator[type[Struct]]:
    """A configuration, and those in it that users give functions in."""
    yield kind
    hints = get_type_hints(kind, localns=_LATER)
    for name, what in fields_of_users(kind).items():
        for hint in _parts(hints[name]) if what == "settings" else ():
            if isinstance(hint, type) and issubclass(hint, Struct):
                yield from kinds(hint)


def fallible_settings(settings: S, under: str = "") -> S:
    """The same, with every function in it made to fail."""
    instead: dict[str, Any] = {}
    for name, what in fields_of_users(type(settings)).items():
        value = getattr(settings, name)
        if value is None or value == ():
            continue
        if what == "settings" and isinstance(value, Struct):
            instead[name] = fallible_settings(value, f"{under}{name}.")
        elif what == "functions":
            instead[name] = tuple(fallible(each, f"{under}{name}") for each in value)
        elif what == "object":
            instead[name] = Fallible(value, f"{under}{name}")
        elif callable(value):
            instead[name] = fallible(value, f"{under}{name}")
    return structs.replace(settings, **instead) if instead else settings


SETTINGS: dict[type[Struct], str] = {
    Callbacks: "callbacks.",
    ClientSettings: "client.",
    ServeSettings: "server.",
}
"""What users configure, and how that is called in points."""

# What servers register


def registrations() -> dict[str, str]:
    """The methods of a server that take functions: name, to the parameter; ``""``: a decorator."""
    found: dict[str, str] = {}
    for name, method in inspect.getmembers(Server, inspect.isfunction):
        if name.startswith("_"):
            continue
        named = [
            each.name
            for each in inspect.signature(method).parameters.values()
            if "Callable" in str(each.annotation)
        ]
        returned = str(inspect.signature(method).return_annotation)
        if name.startswith("add_") and named:
            found[name] = named[0]
        elif "Callable" in returned and f"add_{name}" not in dir(Server):
            found[name] = ""
    return found


class FallibleServer(Server):
    """A server each of whose functions may fail."""


def _declaring(name: str) -> Callable[..., Any]:
    real = getattr(Server, name)

    @wraps(real)
    def declare(self: Any, *args: Any, **options: Any) -> Any:
        made = real(self, *args, **options)
        site = f"{name} {' '.join(str(each) for each in (*args, *options.values()))}"
        return lambda function: made(fallible(function, site))

    return declare


def _adding(name: str, parameter: str) -> Callable[..., Any]:
    real = getattr(Server, name)
    signature = inspect.signature(real)

    @wraps(real)
    def add(*args: Any, **options: Any) -> None:
        bound = signature.bind(*args, **options)
        given = bound.arguments
        extra = given.get("options", {})
        for option, value in extra.items():
            if callable(value):
                extra[option] = fallible(value, f"{name} {option}")
        if callable(given[parameter]):
            function = given[parameter]
            called = given.get("name") or given.get("uri") or function.__name__
            given.setdefault("name", function.__name__) if "uri" not in given else None
            given[parameter] = fallible(function, f"{name} {called}")
        real(*bound.args, **bound.kwargs)

    return add


for _name, _parameter in registrations().items():
    _made = _adding(_name, _parameter) if _parameter else _declaring(_name)
    setattr(FallibleServer, _name, _made)
