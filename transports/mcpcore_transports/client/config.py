"""Configuration files ``mcp.json`` with named servers, as many programs keep one.

There is no standard for the format; the members that are in common use are read: an object
``mcpServers`` (or ``servers``, in VS Code) of servers by name, each with a ``command`` or a
``url``::

    {"mcpServers": {
        "weather": {"command": "uvx", "args": ["weather"], "env": {"KEY": "${WEATHER_KEY}"}},
        "tickets": {"url": "https://example.com/mcp",
                    "headers": {"Authorization": "Bearer ${keyring:tickets/token}"}},
        "notes": {"url": "https://notes.example.com/mcp",
                  "oauth": {"clientId": "me", "clientSecret": "${keyring:notes/secret}"}},
        "shop": {"replicas": ["https://a.example.com/mcp",
                              {"url": "https://b.example.com/mcp", "weight": 2},
                              {"url": "https://c.example.com/mcp", "backup": true}]}}}

Other programs keep members of their own in the file, so unknown members are ignored.  Known members
must be valid: a wrong type, a duplicate member, or one that conflicts with the others is a
:class:`BadConfig` that names file, server and member.  Comments are allowed.
"""

import json
import logging
import math
import os
import re
import stat
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, structs

from mcpcore.errors import AuthorizationError, BadConfig, BadTarget, ExtraMissingError, UrlRefused
from mcpcore.wire.redaction import Discreet, shown_names, shown_url
from mcpcore_transports.targets import (
    HttpTarget,
    Replicas,
    SseTarget,
    StdioTarget,
    Target,
    WebSocketTarget,
    check_headers,
    parse_target,
)

if TYPE_CHECKING:  # imported for servers that have it
    from mcpcore.auth.settings import AuthorizationSettings
    from mcpcore_transports.auth.exchange import UpstreamTokens

_log = logging.getLogger("mcpcore.config")

VARIABLE = "MCPCORE_CONFIG"
"""Environment variable with the path of the configuration file."""
PLACES = ("mcp.json", ".mcp.json", ".vscode/mcp.json", "~/.mcp.json")
"""Default paths, in this order; the first file that exists is read."""
MAX_SIZE = 4 * 1024 * 1024
"""Maximum bytes of a file."""

_TABLES = ("mcpServers", "servers")
_STDIO, _HTTP, _SSE, _WS = "stdio", "http", "sse", "ws"
_TYPES = {
    "stdio": _STDIO,
    "http": _HTTP,
    "streamable-http": _HTTP,
    "streamableHttp": _HTTP,
    "sse": _SSE,
    "ws": _WS,
    "websocket": _WS,
}
_EXPECTED = "stdio, http, streamable-http, sse or ws"
_SCHEMES = {
    _HTTP: ("http://", "https://"),
    _SSE: ("http://", "https://", "sse+http://", "sse+https://"),
    _WS: ("ws://", "wss://"),
}
_OF_COMMANDS = ("args", "env", "cwd")
_OF_GATEWAY = frozenset({"guard", "pins", "rates", "shared", "suspicion"})
_NOT_READ = {
    "envFile": "put its variables into 'env'",
    **dict.fromkeys(_OF_GATEWAY, "a gateway reads it from the member 'gateway' beside the servers"),
}
"""Members that matter to a server but are not read there, with a hint."""

_REFERENCE = re.compile(r"\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORMS = (
    "${NAME}, ${NAME:-default}, ${env:NAME}, ${keyring:SERVICE/NAME}, ${workspaceFolder} or "
    "${userHome}"
)
_KEYRING = "keyring:"
_EDITORS = frozenset({".vscode", ".cursor"})
# An unclosed string or comment extends to the end, so that no part is scanned twice.
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*+"?)|//[^\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)


class _Object(dict[str, Any]):
    """An object, with the names of its duplicate members."""

    twice: Sequence[str] = ()


_KINDS: dict[type, str] = {
    _Object: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


_MEMBERS: dict[str, type] = {
    "command": str,
    "args": list,
    "env": _Object,
    "cwd": str,
    "url": str,
    "replicas": list,
    "headers": _Object,
    "oauth": _Object,
    "type": str,
    "disabled": bool,
}
_OAUTH: dict[str, type] = {
    "clientId": str,
    "clientSecret": str,
    "scopes": list,
    "ceiling": list,
    "issuer": str,
    "clientMetadataUrl": str,
    "redirectUri": str,
    "grant": str,
    "audience": str,
    "account": str,
    "private": bool,
}
"""Members of ``oauth``."""
_SCOPES = ("scopes", "ceiling")
_CODE, _CREDENTIALS, _EXCHANGE, _PERSONAL = _GRANTS = (
    "authorization_code",
    "client_credentials",
    "token_exchange",
    "sign_in",
)

_NEEDED: Mapping[str, Sequence[str]] = {
    _CREDENTIALS: ("clientId", "clientSecret"),
    _EXCHANGE: ("clientId", "clientSecret", "issuer"),
}
"""Members of ``oauth`` that a grant needs."""


class ConfiguredReplica(Discreet, frozen=True):
    """A replica of a server as written in a configuration file."""

    url: str
    weight: float = 1.0
    backup: bool = False
    """True for one that is used while no other can be."""

    def __shown__(self) -> Mapping[str, object]:
        return {"url": shown_url(self.url)}


class ConfiguredServer(Discreet, frozen=True, kw_only=True):
    """A server as written in a configuration file, with its ``${variables}``."""

    name: str
    file: Path
    type: str | None = None
    """``stdio``, ``http``, ``sse`` or ``ws``; None: according to the scheme of the URL."""
    command: str | None = None
    args: Sequence[str] = ()
    env: Mapping[str, str] = {}
    cwd: str | None = None
    url: str | None = None
    """URL, the first one of ``replicas``."""
    replicas: Sequence["ConfiguredReplica"] = ()
    headers: Mapping[str, str] = {}
    oauth: Mapping[str, Any] | None = None
    """Authorization of the client; empty: it registers itself, and a person signs in."""
    disabled: bool = False
    unknown: Sequence[str] = ()
    """Names of unknown members."""

    def __str__(self) -> str:
        return f"{self.file}: server {self.name!r}"

    def __shown__(self) -> Mapping[str, object]:
        return {
            "env": shown_names(self.env),
            "url": self.url and shown_url(self.url),
            "headers": shown_names(self.headers),
            "oauth": None if self.oauth is None else shown_names(self.oauth),
        }

    def target(self, environ: Mapping[str, str] | None = None) -> Target:
        """Return the target, with variables of ``environ`` (default: this process) replaced.

        Raises BadConfig for an undefined variable, for a secret that the keyring has not, and for
        an invalid URL.
        """
        return self._target(Place(self.file, os.environ if environ is None else environ))

    def targets(self, environ: Mapping[str, str] | None = None) -> Target | Replicas:
        """Return the replicas if there are several, else the target.  Raises BadConfig."""
        return self._targets(Place(self.file, os.environ if environ is None else environ))

    def _targets(self, place: "Place") -> Target | Replicas:
        if len(self.replicas) < 2:
            return self._target(place)
        groups: dict[bool, list[Target]] = {False: [], True: []}
        for each in self.replicas:
            groups[each.backup].append(structs.replace(self, url=each.url)._target(place))
        weights = [each.weight for each in self.replicas if not each.backup]
        return Replicas(targets=groups[False], weights=weights, fallback=groups[True])

    def _target(self, place: "Place") -> Target:

        def filled(text: str, member: str) -> str:
            try:
                return substitute(text, place)
            except ValueError as error:
                raise BadConfig(f"{self}: {member}: {error}") from None

        def all_filled(texts: Mapping[str, str], member: str) -> dict[str, str]:
            return {name: filled(text, f"{member}.{name}") for name, text in texts.items()}

        if self.command is not None:
            args = [filled(text, f"args[{index}]") for index, text in enumerate(self.args)]
            cwd = None if self.cwd is None else filled(self.cwd, "cwd")
            return StdioTarget(
                (filled(self.command, "command"), *args),
                all_filled(self.env, "env") or None,
                None if cwd is None else place.root / os.path.expanduser(cwd),
            )
        headers = all_filled(self.headers, "headers")
        try:
            check_headers(headers)
        except BadTarget as error:
            raise BadConfig(f"{self}: headers: {error}") from None
        url = filled(self.url or "", "url")
        if "://" not in url:
            form = "expected one like https://HOST/mcp"
            raise BadConfig(f"{self}: url: {form}, not {shown_url(self.url or '')!r}")
        schemes = _SCHEMES.get(self.type or "", ())
        if schemes and not url.lower().startswith(schemes):
            begins = " or ".join(schemes)
            raise BadConfig(f"{self}: url: with type {self.type} it begins with {begins}")
        if self.type == _SSE and not url.startswith("sse+"):
            url = f"sse+{url}"
        try:
            target = parse_target(url, headers=headers)
        except BadTarget as error:
            # Variables may bring secrets into any part of the URL, so the error quotes it unfilled.
            said = str(error).replace(repr(shown_url(url)), repr(shown_url(self.url or "")))
            if url != self.url:
                said = re.sub(r"( is not a URL): .*", r"\1", said)
            raise BadConfig(f"{self}: url: {said}") from None
        if self.oauth is None:
            return target
        if not isinstance(target, HttpTarget | SseTarget | WebSocketTarget):
            raise BadConfig(f"{self}: oauth: it is for URLs of http, ws and sse")
        return structs.replace(target, auth=self._auth(self.oauth, target.url, filled))

    def _auth(
        self, written: Mapping[str, Any], url: str, filled: Callable[[str, str], str]
    ) -> "AuthorizationSettings | UpstreamTokens":
        """Return the authorization that ``oauth`` describes.  Raises BadConfig."""
        from mcpcore.auth.grants import ClientIdentity  # late: few authorize
        from mcpcore.auth.settings import AuthorizationSettings, ClientCredentialsGrant, CodeGrant

        texts = {
            name: filled(value, f"oauth.{name}")
            for name, value in written.items()
            if isinstance(value, str)
        }
        for name in ("clientId", "clientSecret"):
            if not texts.get(name, "-") and _KEYRING not in written[name]:
                raise BadConfig(f"{self}: oauth.{name}: expected a text that is not empty")
        scopes, ceiling = (
            frozenset(
                filled(text, f"oauth.{name}[{index}]")
                for index, text in enumerate(written.get(name, ()))
            )
            for name in _SCOPES
        )
        client = None
        if "clientId" in texts:
            secret = texts.get("clientSecret")
            client = ClientIdentity(client_id=texts["clientId"], client_secret=secret)
        try:
            machine = written.get("grant") == _CREDENTIALS
            redirect = texts.get("redirectUri", CodeGrant().redirect_uri)
            personal = written.get("grant") == _PERSONAL
            code = CodeGrant(redirect_uri=redirect, personal=personal)
            settings = AuthorizationSettings(
                grant=ClientCredentialsGrant() if machine else code,
                client=client,
                issuer=texts.get("issuer"),
                metadata_url=texts.get("clientMetadataUrl"),
                scopes=scopes,
                ceiling=ceiling if "ceiling" in written else None,
                account=texts.get("account", ""),
                private=written.get("private", False),
            )
            if written.get("grant") != _EXCHANGE or client is None:
                return settings
            from mcpcore.auth.upstream import Upstream  # late: few exchange tokens
            from mcpcore_transports.auth.authorizer import http_url
            from mcpcore_transports.auth.exchange import UpstreamTokens

            upstream = Upstream(
                resource=http_url(url),
                issuer=texts["issuer"],
                client=client,
                scopes=scopes,
                audience=texts.get("audience"),
            )
            return UpstreamTokens(upstream, settings=settings)
        except UrlRefused as error:
            raise BadConfig(f"{self}: oauth: {error}") from None
        except ValueError:
            form = "expected scopes of visible ASCII characters, without blanks and quotes"
            raise BadConfig(f"{self}: oauth.{' or '.join(_SCOPES)}: {form}") from None

    @property
    def doubts(self) -> list[str]:
        """Short warnings about unknown members that look like mistakes."""
        found = []
        oauth = self.oauth or {}
        if (secret := oauth.get("clientSecret")) and not _REFERENCE.search(secret):
            better = "${NAME} or ${keyring:SERVICE/NAME}"
            found.append(f"'oauth.clientSecret' stands in the file: {better} keeps it out of it")
        for key in [each for each in oauth if each not in _OAUTH]:
            near = get_close_matches(key, _OAUTH, n=1, cutoff=0.75)
            meant = f": is {near[0]!r} meant?" if near else ", and not read"
            found.append(f"'oauth.{key}' is unknown{meant}")
        for key in self.unknown:
            if key in _NOT_READ:
                found.append(f"{key!r} is not read: {_NOT_READ[key]}")
                continue
            word = key.lower()
            ends = [name for name in ("command", "url") if word.endswith(name)]
            if near := ends or get_close_matches(word, _MEMBERS, n=1, cutoff=0.75):
                found.append(f"{key!r} is unknown: is {near[0]!r} meant?")
        program = self.command or ""
        if not self.args and len(program.split()) > 1 and not os.path.exists(program):
            found.append("'command' is one program: its arguments go into 'args'")
        return found

    @property
    def problem(self) -> str | None:
        """Short reason why the server cannot be used now; None if none is known."""
        if self.disabled:
            return "disabled"
        texts = [self.command, *self.args, *self.env.values(), self.cwd]
        texts += [self.url, *(each.url for each in self.replicas), *self.headers.values()]
        oauth = self.oauth or {}
        texts += [value for value in oauth.values() if isinstance(value, str)]
        texts += [text for name in _SCOPES for text in oauth.get(name, ())]
        place, missing = Place(self.file, os.environ, keyring=False), dict[str, None]()
        for match in _REFERENCE.finditer("\0".join(text for text in texts if text)):
            try:
                _value(match, place)
            except _Undefined as error:
                missing[error.name] = None
            except ValueError:
                continue  # malformed: not undefined
        if missing:
            return f"{', '.join(missing)} not set"
        try:
            self._targets(place)
        except BadConfig as error:
            return str(error).removeprefix(f"{self}: ")
        return None


def load_targets(
    path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None
) -> dict[str, Target | Replicas]:
    """Read a configuration file: its servers by name, as ``connect_all()`` takes them.

    Disabled servers are left out.  ``environ`` has the variables that replace ``${NAME}``; the
    default is the environment of this process.  Raises BadConfig if any server cannot be used;
    :func:`read_config` reads files of which only some servers are needed.
    """
    targets: dict[str, Target | Replicas] = {}
    for name, server in read_config(path).items():
        for doubt in server.doubts:
            _log.warning("%s: %s", server, doubt)
        if not server.disabled:
            targets[name] = server.targets(environ)
    return targets


def find_config() -> Path | None:
    """Return the file that :data:`VARIABLE` names, or the first existing of :data:`PLACES`."""
    if named := os.environ.get(VARIABLE):
        return Path(os.path.expanduser(named))
    found = (Path(os.path.expanduser(place)) for place in PLACES)
    return next((path for path in found if path.is_file()), None)


def read_config(path: str | os.PathLike[str]) -> dict[str, ConfiguredServer]:
    """Read the servers of a configuration file as written, disabled ones too.  Raises BadConfig."""
    file = Path(path)
    _, top = parse_file(file)
    if not isinstance(top, _Object):
        raise BadConfig(f"{file}: expected an object, not {_kind(top)}")
    _once(top, f"{file}", _TABLES)
    tables = [name for name in _TABLES if name in top]
    if not tables:
        raise BadConfig(f"{file}: there is no member 'mcpServers' (or 'servers') in it")
    if len(tables) > 1:
        raise BadConfig(f"{file}: expected 'mcpServers' or 'servers', not both")
    servers = top[tables[0]]
    if not isinstance(servers, _Object):
        raise BadConfig(f"{file}: {tables[0]}: expected an object, not {_kind(servers)}")
    _once(servers, f"{file}: {tables[0]}")
    return {name: _read_server(file, name, entry) for name, entry in servers.items()}


def find_server(name: str, path: str | os.PathLike[str]) -> ConfiguredServer:
    """Read the server with a name.  Raises BadConfig, with a similar name as a hint."""
    servers = read_config(path)
    if name not in servers:
        near = get_close_matches(name, servers, n=1)
        names = ", ".join(servers) or "none"
        hint = f"did you mean {near[0]!r}?" if near else f"its servers: {names}"
        raise BadConfig(f"{path} has no server {name!r}; {hint}")
    server = servers[name]
    if server.disabled:
        raise BadConfig(f"{server} is disabled")
    return server


# From JSON to servers


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        made.twice = [name for name in made if names.count(name) > 1]
    return made


def _whole_object(pairs: list[tuple[str, Any]]) -> _Object:
    if twice := _object(pairs).twice:
        raise ValueError(f"the member {twice[0]!r} is there twice")
    return _Object(pairs)


def parse_file(file: Path, *, exactly: bool = False) -> tuple[str, Any]:
    """Return the text of a file and the JSON in it.  Raises BadConfig.

    With ``exactly`` no comments and no duplicate members are allowed.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_SIZE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise BadConfig(f"{file}: cannot be read: {reason.lower()}") from None
    if len(data) > MAX_SIZE:
        raise BadConfig(f"{file}: larger than {MAX_SIZE} bytes")
    try:
        text = data.decode("utf-8-sig")
        if exactly:
            return text, json.loads(text, object_pairs_hook=_whole_object)
        # Comments become blanks, so that line and column numbers stay valid.
        plain = _COMMENT.sub(lambda found: found[1] or re.sub(r"[^\n]", " ", found[0]), text)
        return text, json.loads(plain, object_pairs_hook=_object)
    except UnicodeDecodeError:
        raise BadConfig(f"{file}: expected UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BadConfig(f"{file}: not JSON: {error.msg} ({where})") from None
    except (RecursionError, ValueError) as error:  # ValueError: a number of too many digits
        raise BadConfig(f"{file}: not JSON: {error}") from None


def read_section(file: Path, name: str) -> Any:
    """Return a member beside the servers of a file, an empty object if it has none.

    Raises BadConfig, also for a member in it that is there twice, for one that is nearly named so
    in its place, and for what a gateway reads within it alone.
    """
    _, top = parse_file(file)
    if not isinstance(top, _Object):
        return {}
    _once(top, str(file), {name})
    near = get_close_matches(name, top, n=1, cutoff=0.75)
    if near and name not in top:
        raise BadConfig(f"{file}: {near[0]!r} is unknown: is {name!r} meant?")
    for stray in sorted(top.keys() & _OF_GATEWAY):
        raise BadConfig(f"{file}: {stray!r} is not read: {_NOT_READ[stray]}")
    section = top.get(name, {})
    _once_throughout(section, f"{file}: {name}")
    return section


def _once_throughout(value: Any, where: str) -> None:
    if isinstance(value, _Object):
        _once(value, where)
        for name, each in value.items():
            _once_throughout(each, f"{where}.{name}")


def _read_server(file: Path, name: str, entry: Any) -> ConfiguredServer:
    where = f"{file}: server {name!r}"
    if not name.strip() or not name.isprintable():
        raise BadConfig(f"{where}: expected a name that can be seen")
    if not isinstance(entry, _Object):
        raise BadConfig(f"{where}: expected an object, not {_kind(entry)}")
    _once(entry, where, _MEMBERS)
    for key, wanted in _MEMBERS.items():
        if key != "replicas":
            _check(entry.get(key), wanted, f"{where}: {key}", _OAUTH if key == "oauth" else None)
    known = {key: entry[key] for key in _MEMBERS if entry.get(key) is not None}
    if "oauth" in known:
        known["oauth"] = {k: v for k, v in known["oauth"].items() if v is not None}
    if "replicas" in known:
        known["replicas"] = _read_replicas(known["replicas"], f"{where}: replicas")
        if "url" in known:
            raise BadConfig(f"{where}: expected 'url' or 'replicas', not both")
        known["url"] = known["replicas"][0].url
    for variable in known.get("env", ()):
        if not variable or "=" in variable:
            raise BadConfig(f"{where}: env: {variable!r} is no name of a variable")
    kind = known.pop("type", None)
    if kind is not None and kind not in _TYPES:
        raise BadConfig(f"{where}: type: expected {_EXPECTED}, not {kind!r}")
    server = ConfiguredServer(
        name=name,
        file=file,
        type=_TYPES[kind] if kind else (_STDIO if "command" in known else None),
        unknown=[key for key in entry if key not in _MEMBERS],
        **known,
    )
    _check_members(server)
    return server


def _read_replicas(entries: Any, where: str) -> list[ConfiguredReplica]:
    """Return the replicas of a server, backups last.  Raises BadConfig."""
    if not isinstance(entries, list):
        raise BadConfig(f"{where}: expected a list, not {_kind(entries)}")
    found = []
    for index, entry in enumerate(entries):
        place = f"{where}[{index}]"
        members = entry if isinstance(entry, _Object) else _Object(url=entry)
        _once(members, place)
        if strange := set(members) - {*ConfiguredReplica.__struct_fields__}:
            raise BadConfig(f"{place}: there is no member {min(strange)!r}")
        _check_text(members.get("url"), place)
        weight, backup = members.get("weight", 1), members.get("backup", False)
        if type(weight) not in (int, float) or not 0 < weight < math.inf:
            raise BadConfig(f"{place}.weight: expected a number above 0")
        _check(backup, bool, f"{place}.backup")
        found.append(ConfiguredReplica(members["url"], weight, bool(backup)))
    if all(each.backup for each in found):
        raise BadConfig(f"{where}: expected one at least that is no backup")
    found.sort(key=lambda each: each.backup)
    return found


def _check_members(server: ConfiguredServer) -> None:
    """Raise BadConfig for members that conflict."""
    if server.command is None and server.url is None:
        hint = next((f"; {doubt}" for doubt in server.doubts), "")
        raise BadConfig(f"{server}: expected a member 'command' or 'url'{hint}")
    if server.command is not None and server.url is not None:
        raise BadConfig(f"{server}: expected 'command' or 'url', not both")
    if (server.command is None) is (server.type == _STDIO):
        needs = "command" if server.type == _STDIO else "url"
        raise BadConfig(f"{server}: type {server.type} needs a {needs}")
    if server.command is not None:
        if not server.command.strip():
            raise BadConfig(f"{server}: command: expected a program, not an empty string")
        if server.headers:
            raise BadConfig(f"{server}: headers: a command takes none; env is for its variables")
        if server.oauth is not None:
            hint = "a command gets its credentials by variables, in env"
            raise BadConfig(f"{server}: oauth: goes with a url; {hint}")
        return
    if server.oauth is not None:
        _check_oauth(server, server.oauth)
    for key in _OF_COMMANDS:
        if getattr(server, key):
            raise BadConfig(f"{server}: {key}: goes with a command, not with a url")


def _check_oauth(server: ConfiguredServer, oauth: Mapping[str, Any]) -> None:
    """Raise BadConfig for members of ``oauth`` that conflict."""
    grant = oauth.get("grant", _CODE)
    if grant not in _GRANTS:
        expected = " or ".join(_GRANTS)
        raise BadConfig(f"{server}: oauth.grant: expected {expected}, not {grant!r}")
    needed = _NEEDED.get(grant, ())
    if not all(name in oauth for name in needed):
        raise BadConfig(f"{server}: oauth: {grant} needs {', '.join(needed)}")
    if "clientSecret" in oauth and "clientId" not in oauth:
        raise BadConfig(f"{server}: oauth: clientSecret is that of a clientId, which is not there")
    if any(name.lower() in ("authorization", "dpop") for name in server.headers):
        raise BadConfig(f"{server}: oauth sets the header Authorization: give one of the two")


def _check(value: Any, wanted: type, where: str, members: Mapping[str, type] | None = None) -> None:
    """Raise BadConfig for a member of another type, or with text that cannot be passed on.

    ``members``: types of the members of an object; None: they are texts.
    """
    if value is None:
        return
    if type(value) is not wanted:
        raise BadConfig(f"{where}: expected {_KINDS[wanted]}, not {_kind(value)}")
    if isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, list):
        for index, text in enumerate(value):
            _check_text(text, f"{where}[{index}]")
    elif isinstance(value, _Object) and members is not None:
        _once(value, where, members)
        for name, kind in members.items():
            _check(value.get(name), kind, f"{where}.{name}")
    elif isinstance(value, _Object):
        _once(value, where)
        for name, text in value.items():
            _check_text(name, where)
            _check_text(text, f"{where}.{name}")


def _check_text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        hint = f"; write {json.dumps(json.dumps(value))}" if isinstance(value, int | float) else ""
        raise BadConfig(f"{where}: expected a string, not {_kind(value)}{hint}")
    if "\0" in value:
        raise BadConfig(f"{where}: a NUL character cannot be passed on")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise BadConfig(f"{where}: half a character (a lone surrogate) cannot be passed on")


def _once(members: _Object, where: str, known: Collection[str] | None = None) -> None:
    for name in members.twice:
        if known is None or name in known:
            raise BadConfig(f"{where}: {name!r} is there twice")


def _kind(value: Any) -> str:
    return _KINDS[type(value)]


# Variables: ``${NAME}``, ``${NAME:-default}`` and others


class Place(Struct, frozen=True):
    """Source of variables: the path of the configuration file, an environment, the keyring."""

    file: Path
    environ: Mapping[str, str]
    keyring: bool = True
    """False if secrets of the keyring are left out, as it may ask a person to be unlocked."""

    @property
    def root(self) -> Path:
        """Project folder: that of the file, or its parent for ``.vscode`` and ``.cursor``."""
        folder = self.file.absolute().parent
        return folder.parent if folder.name in _EDITORS else folder


class _Undefined(ValueError):
    """A variable without a value; ``name`` is its name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
        )
        self.name = name


def substitute(text: str, place: Place) -> str:
    """Replace the variables in ``text``; replaced text is not expanded again.

    As in a shell, the default replaces a variable that is not set or empty.  Raises ValueError,
    whose message contains no value.
    """
    return _REFERENCE.sub(lambda match: _value(match, place), text)


def _value(match: re.Match[str], place: Place) -> str:
    inside, end = match.groups()
    if not end:
        raise ValueError(f"{match[0]!r} is not closed: expected {_FORMS}")
    if "${" in inside:
        raise ValueError(f"{match[0]!r}: a reference within another is not supported")
    if inside == "workspaceFolder":
        return str(place.root)
    if inside == "userHome":
        try:
            return str(Path.home())
        except RuntimeError:
            raise ValueError(f"{match[0]!r}: this user has no home directory") from None
    if inside.startswith(_KEYRING):
        return _keyring_value(inside.removeprefix(_KEYRING)) if place.keyring else ""
    name, dash, default = inside.partition(":-")
    name = name.removeprefix("env:")
    if not _NAME.fullmatch(name):
        hint = "; nobody is asked for inputs here" if name.startswith("input:") else ""
        raise ValueError(f"{match[0]!r} is unknown: expected {_FORMS}{hint}")
    value = place.environ.get(name)
    if dash:
        return value or default
    if value is None:
        raise _Undefined(name)
    return value


def _keyring_value(reference: str) -> str:
    from mcpcore_transports.auth.environment import keyring_secret  # late: few authorize

    try:
        return keyring_secret(reference)
    except (AuthorizationError, ExtraMissingError) as error:
        raise ValueError(str(error)) from None


BACKUP = ".bak"
"""Suffix of the copy of a file before its change."""
_OWNERS = 0o600
"""Mode of a new file: it may contain secrets."""
_INDENT = re.compile(r"\n([ \t]+)\S")


def add_server(
    path: str | os.PathLike[str],
    table: str,
    name: str,
    entry: Mapping[str, Any],
    *,
    replace: bool = False,
) -> Literal["added", "replaced", ""]:
    """Add a server to the object ``table`` of a file; create the file if necessary.

    A file that could not be rewritten faithfully is refused: one with comments, one with a
    duplicate member, one that is no JSON object.
    ``replace`` allows replacing another server of that name.  The file is replaced atomically, and
    the old version is kept beside it (:data:`BACKUP`).  Returns "added" or "replaced", or nothing
    if the same entry is there already.  Raises BadConfig without any change.
    """
    file = Path(path).resolve()  # a symbolic link stays one
    has_text = os.path.exists(file) and os.path.getsize(file) > 0
    text, top = parse_file(file, exactly=True) if has_text else ("", {})
    servers = top.setdefault(table, {}) if isinstance(top, dict) else None
    if not isinstance(servers, dict):
        raise BadConfig(f"{path}: expected an object, with an object {table!r} if there is one")
    known = servers.get(name)
    if known == entry:
        return ""
    if known is not None and not replace:
        raise BadConfig(f"{path} has another server {name!r}")
    servers[name] = entry
    indent = _INDENT.search(text)
    try:
        made = json.dumps(
            top, indent=indent[1] if indent else 2, ensure_ascii=False, allow_nan=False
        )
        data, mode = f"{made}\n".encode(), _OWNERS
        file.parent.mkdir(parents=True, exist_ok=True)
        if os.path.exists(file):
            mode = stat.S_IMODE(file.stat().st_mode)
            replace_file(file.with_name(file.name + BACKUP), file.read_bytes(), mode=mode)
        replace_file(file, data, mode=mode)
    except (ValueError, OSError) as error:  # ValueError: infinity, or a lone surrogate
        reason = getattr(error, "strerror", None) or str(error)
        raise BadConfig(f"{path}: cannot be written: {reason.lower()}") from None
    return "added" if known is None else "replaced"


def replace_file(file: Path, data: bytes, *, mode: int) -> None:
    """Replace a file atomically: a reader gets the old version or the new one."""
    handle, new = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        os.chmod(new, mode)
        os.replace(new, file)
    except BaseException:
        os.unlink(new)
        raise
