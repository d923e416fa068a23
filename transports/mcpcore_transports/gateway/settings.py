"""Settings of a gateway, and their form in a configuration file.

The member ``gateway`` of an ``mcp.json`` has the numbers of :class:`GatewaySettings` and objects
for ``relay``, ``retry``, ``breaker``, ``balance`` and ``health``, in camel case; null turns
``retry`` and ``breaker`` off.  With ``routes`` there are several endpoints, each before servers of
its own::

    {"gateway": {"processes": 20, "relay": {"naming": "on conflict"}, "retry": null,
                 "routes": {"/mcp": ["a", "b"], "/billing": ["c"]}},
     "mcpServers": {...}}

Its members ``rates`` and ``suspicion`` are about the clients, and are read by the command.
"""

import os
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct, field

from mcpcore.errors import BadConfig
from mcpcore.http.settings import is_path
from mcpcore.policy.balancing import BalanceSettings
from mcpcore.policy.breaker import BreakerSettings
from mcpcore.policy.health import HealthSettings
from mcpcore.policy.retrying import RetrySettings
from mcpcore.policy.trust import TrustSettings
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.bounds import check_kinds, check_numbers
from mcpcore.spec.types.base import Implementation
from mcpcore.wire.redaction import HIDDEN, Discreet
from mcpcore_transports.client.config import Place, read_section, substitute
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.http1.settings import HttpClientLinkSettings

_INFO = Implementation(name="mcpcore-gateway", version="0.1.0")


class SignInSettings(Discreet, frozen=True, kw_only=True):
    """Sign-in of clients at the servers that want one of each of them; time in seconds.

    The gateway learns who has opened a page from its own authorization server, as one of its
    clients.  Raises ValueError for a number out of range.
    """

    url: str
    """URL of the gateway's endpoint as clients and browsers reach it: https, or on loopback.  The
    pages ``/sign-in`` and ``/sign-in/callback`` stand beside it."""
    client_id: str | None = None
    """Registered client at the gateway's own authorization server; None: it registers itself."""
    client_secret: str | None = None
    """Secret of that client; None: it has none."""
    issuer: str | None = None
    """Issuer of the gateway's own tokens; None: the first that its metadata names."""
    scopes: tuple[str, ...] = ()
    """Scopes to ask for there besides those that the gateway names."""
    private: bool = False
    """Allow that server to be in a private network."""
    time: float = 600.0
    """Time for which a link is valid."""
    asked: int = 1000
    """Maximum users who are asked to sign in at a time."""
    accounts: int = 1000
    """Maximum principals of each server that stay signed in; those not seen for longest go first,
    and sign in again."""

    def __post_init__(self) -> None:
        check_kinds(self)
        check_numbers(self)

    def __shown__(self) -> Mapping[str, object]:
        return {"client_secret": self.client_secret and HIDDEN}


class GatewaySettings(Struct, frozen=True, kw_only=True):
    """Settings of a gateway.  Times are in seconds.  Raises ValueError for one out of range."""

    routes: Mapping[str, tuple[str, ...]] = {}
    """Servers by the path of the endpoint where they are offered together; empty: all of them, at
    the path of the binding.

    Nothing that one route has given out is known at another.
    """
    relay: RelaySettings = field(default_factory=RelaySettings)
    """Settings of the relay between clients and servers: names, lists, times, limits."""
    client: ClientSettings = field(
        default_factory=lambda: ClientSettings(
            info=_INFO, http_link=HttpClientLinkSettings(connections=1000)
        )
    )
    """Settings of the conversations with servers.  All clients share one with a modern server: it
    has up to 1,000 connections over HTTP, of which listen streams take half at most."""
    retry: RetrySettings | None = field(default_factory=RetrySettings)
    """Retries of requests that may be carried out twice; None: none is retried."""
    breaker: BreakerSettings | None = field(default_factory=BreakerSettings)
    """Circuit breaker of each server; None: there is none."""
    balance: BalanceSettings = field(default_factory=BalanceSettings)
    """Balancing of requests over the replicas of a server."""
    health: HealthSettings = field(default_factory=HealthSettings)
    """Health of the replicas of a server."""
    guard: Mapping[str, TrustSettings] = {}
    """Trust in a server, by its name: pins, allowed names, screening, redaction."""
    pins: str | None = None
    """File of the pins of servers (``mcpcore pins approve``), each of which is held to its own;
    None: nothing is compared."""
    start_time: float = 10.0
    """Maximum time for all servers to tell their era before clients are let in.

    A server that is later is tried again in the background.
    """
    shared: Mapping[str, bool] = {}
    """Sharing of a server's conversations, and with them its processes, by the server's name.

    False: each legacy session has one.  True: with a legacy server those of one principal that
    declare the same capabilities share one, and all clients share one with a modern server.  The
    default is True for modern servers and False for legacy ones.
    """
    processes: int = 100
    """Maximum processes of servers that are started as commands, of all of them together."""
    processes_per_server: int = 50
    """Maximum processes of one such server, besides those that all clients share or that have told
    what it speaks."""
    lazy: bool = False
    """True to start no server that is a command before a legacy session, or a request for it or a
    list of all, needs it.  Until then it is taken to have all that can be declared."""
    starting: int = 4
    """Maximum processes that are started at a time; others wait, a second at most for each."""
    sign_in: SignInSettings | None = None
    """Page on which clients sign in at servers; None: no server wants that."""
    subjects: int = 1000
    """Maximum principals whose tokens are kept to be exchanged for those of servers."""
    first_delay: float = 0.5
    """Time after two failures in a row to open a conversation before the next attempt; doubled for
    each further one.  Requests meanwhile are refused at once."""
    max_delay: float = 30.0
    """Limit of that growth."""
    close_time: float = 5.0
    """Maximum time for the end of the conversations with servers, after the last client's, within
    what is left of the time for draining."""

    def check_servers(self, known: Collection[str]) -> None:
        """Raise ValueError if a server is named that is not ``known``."""
        routed = [name for names in self.routes.values() for name in names]
        members = {"shared": self.shared, "routes": routed, "guard": self.guard}
        for member, names in members.items():
            if strange := set(names) - set(known):
                raise ValueError(f"{member}: there is no server {min(strange)!r}")

    def __post_init__(self) -> None:
        check_numbers(self, "first_delay", "max_delay", "close_time")
        for path, names in self.routes.items():
            if not is_path(path):
                raise ValueError(f"routes: {path!r} is no path that begins with '/'")
            if not names:
                raise ValueError(f"routes: {path!r} has no server")
            if twice := [each for each in names if names.count(each) > 1]:
                raise ValueError(f"routes: {path!r} names the server {twice[0]!r} twice")
            if path != "/" and path.endswith("/") and path[:-1] in self.routes:
                raise ValueError(f"routes: {path!r} and {path[:-1]!r} are too alike")


S = TypeVar("S", bound=Struct)

_PARTS: Mapping[str, type[Struct]] = {
    "relay": RelaySettings,
    "retry": RetrySettings,
    "breaker": BreakerSettings,
    "balance": BalanceSettings,
    "health": HealthSettings,
    "sign_in": SignInSettings,
}
_OF_CLIENTS = frozenset({"rates", "suspicion"})
_MAY_BE_NULL = frozenset({"retry", "breaker"})


def read_settings(path: Path) -> GatewaySettings:
    """Return the settings in a configuration file, the defaults where it has none.

    Raises BadConfig.
    """
    section = read_section(path, "gateway")
    if isinstance(section, dict):
        section = {name: each for name, each in section.items() if name not in _OF_CLIENTS}
    return _read(GatewaySettings, section, f"{path}: gateway", path)


def _read(kind: type[S], value: Any, where: str, file: Path) -> S:
    """Return the settings that an object has.  Raises BadConfig for a wrong or unknown member."""
    if not isinstance(value, dict):
        raise BadConfig(f"{where}: expected an object")
    fields = {_camel(each.name): each for each in msgspec.structs.fields(kind)}
    fields.pop("client", None)  # its settings are of no file
    for key in value:
        if key not in fields:
            near = get_close_matches(_camel(key), fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BadConfig(f"{where}: there is no setting {key!r}{hint}")
    made: dict[str, Any] = {}
    for key, each in value.items():
        name, place = fields[key].name, f"{where}.{key}"
        part = _PARTS.get(name)
        if part is not None and not (each is None and name in _MAY_BE_NULL):
            made[name] = _read(part, each, place, file)
            continue
        try:
            made[name] = _converted(each, fields[key].type, file)
        except (msgspec.ValidationError, ValueError) as error:
            raise BadConfig(f"{place}: {error}") from None
    try:
        return kind(**made)
    except (TypeError, ValueError) as error:  # TypeError: one is missing
        name, space, rest = str(error).partition(" ")
        text = f"{_camel(name)}{space}{rest}" if name in kind.__struct_fields__ else str(error)
        raise BadConfig(f"{where}: {text}") from None


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda each: each[1].upper(), name)


def _converted(value: Any, kind: Any, file: Path) -> Any:
    """Return a value of a file as one of a type, with its variables replaced."""
    value = _filled(value, Place(file, os.environ))
    if isinstance(value, str):
        types = (each for each in (kind, *get_args(kind)) if isinstance(each, type))
        words = [member.value for each in types if issubclass(each, Enum) for member in each]
        if words and value not in words:
            raise ValueError(f"{value!r} is none of {', '.join(words)}")
    return msgspec.convert(value, kind)


def _filled(value: Any, place: Place) -> Any:
    """Return a value with the variables in its texts replaced: a glob with one would match none."""
    if isinstance(value, str):
        return substitute(value, place)
    if isinstance(value, list):
        return [_filled(each, place) for each in value]
    if isinstance(value, dict):
        return {name: _filled(each, place) for name, each in value.items()}
    return value
