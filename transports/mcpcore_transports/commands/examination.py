"""Examination of one server in stages, each of which needs those before it; nothing is called.

A stage looks and changes nothing: no tool is called, no resource is read, nobody signs in.
"""

import os
import shutil
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import anyio
import msgspec
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute
from msgspec import Struct, structs

from mcpcore.errors import BadConfig, BadProxy, BadTarget, LinkError
from mcpcore.http.origin import DEFAULT_PORTS
from mcpcore.policy.differences import ServerDescription, compare_servers, describe_server
from mcpcore.spec.capabilities import APP_TYPE, APPS_EXTENSION, declares
from mcpcore.spec.errors import LocalError, McpError
from mcpcore.spec.revisions import LATEST
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_PROTOCOL_VERSION,
    Implementation,
)
from mcpcore.trace.format import TO_CLIENT, Record, decode_line
from mcpcore.wire.redaction import shown_url
from mcpcore_transports import targets
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client
from mcpcore_transports.client.config import ConfiguredServer
from mcpcore_transports.commands.client import KINDS
from mcpcore_transports.commands.lint import lint, missing_apps
from mcpcore_transports.commands.options import ConnectOptions
from mcpcore_transports.commands.target import (
    WEB,
    access,
    client_settings,
    connection,
    era_doubt,
    fitted,
    is_unauthorized,
)
from mcpcore_transports.http.client.proxies import Proxy, proxy_for
from mcpcore_transports.link import clock, not_reached
from mcpcore_transports.stdio.process import environment, find_program
from mcpcore_transports.stream.settings import ProcessSettings
from mcpcore_transports.tls import client_tls
from mcpcore_transports.tracing.tracing import Trace

__all__ = ["FAILED", "NOT_CHECKED", "OK", "STAGES", "WARNING", "Examination", "StageResult"]

OK, WARNING, FAILED, NOT_CHECKED = "ok", "warning", "failed", "not checked"
_NETWORK_TIME = 5.0
"""Seconds for each step towards a server, without --connect-timeout."""
_SLOW_START = 5.0
"""Seconds until the handshake, beyond which a user waits noticeably."""
_EXPIRES = 14
"""Days that a certificate should still be valid."""
_SHOWN = 5
"""Differences from what was approved that are shown."""
_PINNED = {
    "tools": "tools",
    "prompts": "prompts",
    "resourceTemplates": "resource_templates",
    "skills": "skills",
}
"""Names that :func:`describe_server` has for lists, by their members."""
_OTHER_NAME = "correct the name in the URL, or give the server a certificate for it"
_CERTIFICATES = {10: "renew its certificate", 62: _OTHER_NAME, 64: _OTHER_NAME}
"""Advice by the code of OpenSSL: expired, another name, another address."""
_QUIET = "write logs to standard error"
_SCRIPTS = (".py", ".js", ".mjs", ".ts", ".rb", ".sh")


class StageResult(Struct, omit_defaults=True):
    """Result of one stage."""

    state: str
    """ok, warning, failed, or not checked."""
    detail: str = ""
    """Facts or faults; several stand in lines of their own."""
    fix: str = ""
    """Advice about a fault."""
    stage: str = ""
    seconds: float = 0.0


class Examination:
    """Examination of a server: one that is configured, or a target."""

    def __init__(
        self,
        options: ConnectOptions,
        *,
        configured: ConfiguredServer | BadConfig | None = None,
        target: targets.Target | None = None,
        pins: ServerDescription | BadConfig | None = None,
    ) -> None:
        """``configured``: its entry; ``pins``: what was approved; or why that cannot be read."""
        self._options = options
        self._pins = pins
        self._described = ServerDescription()
        self._flaw = configured if isinstance(configured, BadConfig) else None
        self._configured = None if isinstance(configured, BadConfig) else configured
        self._target = target
        self._client: Client | None = None
        self._proxy: Proxy | None = None
        self._noise = ""
        """First of what is no message on its standard output."""
        self._doubts: list[str] = []
        self._listed: dict[str, int] = {}
        self._broken = ""
        self._took = 0.0
        """Seconds until the handshake was done."""

    async def run(self, tell: Callable[[StageResult], object] | None = None) -> list[StageResult]:
        """Go through all stages; what comes behind a failure is not checked, and says why.

        ``tell`` takes each result when it is there.
        """
        results: list[StageResult] = []
        off = self._configured is not None and self._configured.disabled
        reason = "the server is disabled" if off else ""
        for name, stage in STAGES.items():
            began = clock()
            if reason:
                found = StageResult(NOT_CHECKED, reason)
            else:
                begun = stage(self)
                found = begun if isinstance(begun, StageResult) else await begun
            found.stage, found.seconds = name, round(clock() - began, 3)
            results.append(found)
            if tell is not None:
                tell(found)
            if found.state == FAILED:
                reason = f"{name} failed"
        return results

    # Before anything is started

    def file(self) -> StageResult:
        """Look at the entry in the configuration file."""
        if self._flaw is not None:
            return StageResult(FAILED, str(self._flaw), "correct the file")
        server = self._configured
        if server is None:
            return StageResult(NOT_CHECKED, "the server is not one of a configuration file")
        if server.doubts:
            return StageResult(
                WARNING, "\n".join(server.doubts), f"correct the entry in {server.file}"
            )
        return StageResult(OK, str(server.file))

    def variables(self) -> StageResult:
        """Replace the variables of the entry."""
        if self._configured is None:
            return StageResult(NOT_CHECKED, "the server is not one of a configuration file")
        try:
            target = self._configured.target()
            self._target = fitted(target, structs.replace(self._options, command=None))
        except BadTarget as error:
            return StageResult(FAILED, str(error), "set the variable, or correct the entry")
        return StageResult(OK)

    def program(self) -> StageResult:
        """Find the program as it will be started: with the variables of the server alone."""
        target = self._target
        if not isinstance(target, targets.StdioTarget):
            return StageResult(NOT_CHECKED, "the server is not started as a command")
        cwd = os.fspath(target.cwd or ".")
        if not os.path.isdir(cwd):
            return StageResult(FAILED, f"the directory {cwd} does not exist", "correct 'cwd'")
        settings = ProcessSettings(env=target.env, cwd=target.cwd)
        variables = environment(settings)
        try:
            path = find_program(target.command[0], settings, variables)
        except LinkError as error:
            here = shutil.which(target.command[0])
            fix = f"give the whole path, {here}" if here else "install it, or correct 'command'"
            where = variables.get("PATH", os.defpath)
            return StageResult(FAILED, f"{error} (as started, PATH is {where})", fix)
        for word in target.command[1:]:
            if word.endswith(_SCRIPTS) and not os.path.exists(os.path.join(cwd, word)):
                doubt = f"{word} does not exist in {os.path.abspath(cwd)}"
                return StageResult(WARNING, doubt, "correct 'args', or give 'cwd'")
        return StageResult(OK, path)

    # The network

    def _place(self) -> tuple[str, int, bool] | None:
        """Return host, port, and True for TLS; None for a server that is not on the network."""
        if isinstance(self._target, targets.TcpTarget):
            return self._target.host, self._target.port, self._target.tls
        if not isinstance(self._target, WEB):
            return None
        parts = urlsplit(self._target.url)
        secure = parts.scheme in ("https", "wss")
        port = parts.port or DEFAULT_PORTS["https" if secure else "http"]
        return parts.hostname or "", port, secure

    async def dns(self) -> StageResult:
        """Resolve the host, or that of the proxy."""
        place = self._place()
        if place is None:
            return StageResult(NOT_CHECKED, "the server is not on the network")
        through = ""
        if isinstance(self._target, WEB):
            try:
                proxy = client_settings(self._options).proxy
                self._proxy = proxy_for(self._target.url, proxy)
            except BadProxy as error:
                return StageResult(
                    FAILED, str(error), "correct --proxy, or HTTPS_PROXY and the like"
                )
            if self._proxy is not None:
                through, place = f" of the proxy {self._proxy}", (self._proxy.host, 0, False)
        try:
            with anyio.fail_after(self._time):
                found = await anyio.getaddrinfo(place[0], None)
        except (OSError, UnicodeError, TimeoutError) as error:
            fix = "correct the name, or look at the resolver (VPN?)"
            return StageResult(FAILED, f"{place[0]}{through}: {str(error) or 'no answer'}", fix)
        addresses = dict.fromkeys(str(each[4][0]) for each in found)
        return StageResult(OK, f"{place[0]}{through}: {', '.join([*addresses][:4])}")

    async def tcp(self) -> StageResult:
        """Open a connection, and close it."""
        place = self._place()
        if place is None:
            return StageResult(NOT_CHECKED, "the server is not on the network")
        host, port = place[:2]
        if self._proxy is not None:
            host, port = self._proxy.host, self._proxy.port
        try:
            with anyio.fail_after(self._time):
                async with await anyio.connect_tcp(host, port) as stream:
                    peer = stream.extra(SocketAttribute.remote_address)  # noqa: S610 - no Django
        except (OSError, TimeoutError) as error:
            fix = "start the server, or correct host and port (a firewall?)"
            why = not_reached(error) if str(error) else "no answer"
            return StageResult(FAILED, f"{host} port {port}: {why}", fix)
        return StageResult(OK, f"{peer[0]} port {peer[1]}")

    async def tls(self) -> StageResult:
        """Do a TLS handshake, and look at the certificate."""
        place = self._place()
        if place is None or not place[2]:
            why = "reached without TLS" if place else "not on the network"
            return StageResult(NOT_CHECKED, f"the server is {why}")
        if self._proxy is not None:
            return StageResult(NOT_CHECKED, f"it goes through the proxy {self._proxy}")
        options, (host, port, _) = self._options, place
        try:
            context = client_tls(ca=options.ca, cert=options.cert, key=options.key)
            with anyio.fail_after(self._time):
                made = await anyio.connect_tcp(
                    host,
                    port,
                    ssl_context=context,
                    tls_hostname=host,
                    tls_standard_compatible=False,
                )
                async with made as stream:
                    version = stream.extra(TLSAttribute.tls_version)  # noqa: S610 - as above
                    shown = stream.extra(TLSAttribute.peer_certificate)  # noqa: S610 - as above
        except ssl.SSLCertVerificationError as error:
            fix = _CERTIFICATES.get(error.verify_code, "trust its authority by --cacert")
            return StageResult(FAILED, error.verify_message, fix)
        except (OSError, TimeoutError, LocalError) as error:
            return StageResult(FAILED, str(error) or "no answer", "is it a server with TLS (http?)")
        until = (shown or {}).get("notAfter")
        if isinstance(until, str):
            left = ssl.cert_time_to_seconds(until) - datetime.now(UTC).timestamp()
            if left < _EXPIRES * 86_400:
                return StageResult(
                    WARNING, f"its certificate ends at {until}", "renew the certificate"
                )
        return StageResult(OK, str(version))

    async def http(self) -> StageResult:
        """Ask for server/discover once, without a kept token; look at status and challenge."""
        target = self._target
        if not isinstance(target, targets.HttpTarget):
            return StageResult(NOT_CHECKED, "the server is not one of Streamable HTTP")
        from mcpcore.auth.needs import Fetch, NeedFailed  # late: few examine
        from mcpcore_transports.auth.fetching import Fetcher

        assert not callable(target.headers)  # noqa: S101 - made from words
        fetcher = Fetcher(local=True, private=True, **access(self._options))
        headers = {**_HEADERS, **target.headers}
        got = await fetcher.fetch(
            Fetch(
                method="POST", url=target.url, headers=headers, body=_DISCOVER, timeout=self._time
            )
        )
        if isinstance(got, NeedFailed):
            return StageResult(NOT_CHECKED, got.reason)
        if got.status == 401:
            lines = [value for name, value in got.headers if name == "www-authenticate"]
            return await self._challenged(target.url, lines)
        state, fix = _STATUSES.get(got.status, (OK if got.status < 500 else FAILED, ""))
        if 300 <= got.status < 400:
            where = shown_url(got.header("location") or "elsewhere")
            return StageResult(WARNING, f"status {got.status} to {where}", "use that URL")
        return StageResult(
            state, f"status {got.status}", fix or ("see its log" if state == FAILED else "")
        )

    async def _challenged(self, url: str, lines: list[str]) -> StageResult:
        """Say what a 401 asks for, and whether the metadata of the server can be found."""
        from mcpcore.auth.challenges import find_challenge, parse_challenges  # late: few authorize
        from mcpcore.auth.discovery import find_resource
        from mcpcore.auth.endpoints import Endpoints
        from mcpcore.auth.needs import Fetch, NeedFailed
        from mcpcore.auth.settings import AuthorizationSettings
        from mcpcore.auth.urls import parse_url
        from mcpcore.errors import AuthorizationError
        from mcpcore_transports.auth.fetching import Fetcher

        challenge = find_challenge(parse_challenges(lines), "bearer", "dpop")
        if challenge is None:
            fix = "send WWW-Authenticate with the 401 (RFC 9110, 11.6.1)"
            return StageResult(WARNING, "status 401 without a challenge for a token", fix)
        local = parse_url(url, "the URL of the server").loopback
        private = self._options.auth_private
        rules = AuthorizationSettings(private=private)
        endpoints = Endpoints(rules, local=local, seed=os.urandom(32))
        fetcher = Fetcher(local=local, private=private, **access(self._options))
        steps = find_resource(endpoints, url, challenge.params.get("resource_metadata"))
        fix = f"mcpcore auth login {shown_url(url)}, unless a token is kept"
        try:
            need = next(steps)
            while True:
                known = isinstance(need, Fetch)
                got = await fetcher.fetch(need) if known else NeedFailed("not asked")  # type: ignore[arg-type]
                need = steps.send(got)
        except StopIteration as end:
            issuers = () if end.value is None else end.value.authorization_servers
            names = ", ".join(map(shown_url, issuers)) or "none"
            return StageResult(
                WARNING, f"status 401; its metadata names authorization servers: {names}", fix
            )
        except AuthorizationError as error:
            return StageResult(WARNING, f"status 401; {error}", "publish RFC 9728 metadata")

    # The conversation

    async def era(self) -> StageResult:
        """Connect, by a probe where the era is not known; list, too, for the next stages."""
        assert self._target is not None  # noqa: S101 - it is made before
        began = clock()
        recorder = Trace(self._hear)
        options = structs.replace(self._options, recorder=recorder)
        try:
            made = await connection(
                self._target, options, revisions=options.revisions, callbacks=_SHOWING_APPS
            )
            async with made as client:
                self._took = clock() - began
                await self._list(client)
        except (LocalError, McpError, OSError) as error:
            fix = "start it by hand, and read its log"
            if isinstance(self._target, WEB):
                login = f"mcpcore auth login {shown_url(self._target.url)}"
                fix = login if is_unauthorized(error) else ""
            if self._noise:
                return StageResult(FAILED, f"{error}\n{self._noise}", _QUIET)
            return StageResult(FAILED, str(error), fix)
        finally:
            recorder.close()
        self._client = client
        if client.revision.modern:
            return StageResult(OK, "modern: it answers server/discover")
        if doubt := era_doubt(client, self._took, self._options):
            fix = f"--revision {LATEST.name} shows whether it is modern"
            return StageResult(WARNING, f"legacy, or so it seems: {doubt}", fix)
        return StageResult(OK, "legacy: it wants initialize")

    def handshake(self) -> StageResult:
        """Say what was agreed, with whom, and how long the start took."""
        assert self._client is not None  # noqa: S101 - it is made before
        info = self._client.server_info
        name = "" if info is None else f" with {info.name} {info.version}"
        said = f"{self._client.revision.name}{name}, in {self._took:.2f} s"
        if self._took > _SLOW_START and isinstance(self._target, targets.StdioTarget):
            fix = "install it rather than fetch it with each start"
            return StageResult(WARNING, f"a slow start: {said}", fix)
        return StageResult(OK, said)

    async def _list(self, client: Client) -> None:
        """List all that is declared."""
        listed: dict[str, list[Any]] = {}
        pinned: dict[str, Any] = {}
        for kind, listing in KINDS.items():
            if not declares(client.capabilities, listing.capability):
                continue
            try:
                items = await listing.fetch(client)
            except (LocalError, McpError) as error:
                self._broken = f"{kind}: {error}"
                return
            self._listed[kind] = len(items)
            if listing.member in _PINNED:
                pinned[_PINNED[listing.member]] = items
            plain: list[Any] = msgspec.to_builtins(items)
            listed[kind] = plain
            self._doubts += [f"{kind}: {said}" for said in lint(kind, plain)]
        self._described = describe_server(instructions=client.instructions, **pinned)
        missing = missing_apps(listed.get("tools", ()), listed.get("resources", ()))
        self._doubts += [f"tools: {said}" for said in missing]

    def lists(self) -> StageResult:
        """Say what was listed."""
        if self._broken:
            return StageResult(FAILED, self._broken, "the server declares what it cannot list")
        counts = ", ".join(f"{number} {kind}" for kind, number in self._listed.items())
        return (
            StageResult(OK, counts)
            if counts
            else StageResult(WARNING, "it declares nothing that is listed")
        )

    def lint(self) -> StageResult:
        """Say what is doubtful in the lists, and what was noise."""
        if self._noise:
            self._doubts.append(self._noise)
        if not self._doubts:
            return StageResult(OK)
        fix = _QUIET if self._noise else "see docs/how-to/doctor.md"
        return StageResult(WARNING, "\n".join(self._doubts), fix)

    def pins(self) -> StageResult:
        """Say how the server differs from what was approved."""
        if self._pins is None:
            return StageResult(NOT_CHECKED, "nothing of it was approved (mcpcore pins approve)")
        if isinstance(self._pins, BadConfig):
            return StageResult(WARNING, str(self._pins), "mend that file")
        found = compare_servers(self._pins, self._described)
        if not found:
            return StageResult(OK, "as approved")
        lines = [f"{each.kind.value} {each.place}: {each.text}" for each in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"and {len(found) - _SHOWN} more")
        fix = "look at it by mcpcore pins diff, and approve it if it is right"
        return StageResult(WARNING, "\n".join(lines), fix)

    def calls(self) -> StageResult:
        """Say that nothing was called."""
        return StageResult(
            NOT_CHECKED, "no tool is called and no resource is read, as that may change things"
        )

    # Helpers

    @property
    def _time(self) -> float:
        return self._options.connect_timeout or _NETWORK_TIME

    def _hear(self, line: bytes) -> None:
        item = decode_line(line)
        if self._noise or not isinstance(item, Record) or item.direction != TO_CLIENT:
            return
        if item.kind == "invalid":
            said = ascii((item.text or "")[:80])
            self._noise = f"its standard output has what is no message: {said}"


_SHOWING_APPS = Callbacks(extensions={APPS_EXTENSION: {"mimeTypes": [APP_TYPE]}})
"""Callbacks of a client to which servers tell of apps."""
_META = {
    META_PROTOCOL_VERSION: LATEST.name,
    META_CLIENT_CAPABILITIES: {},
    META_CLIENT_INFO: Implementation(name="mcpcore-doctor", version="0.1.0"),
}
_DISCOVER = msgspec.json.encode(
    {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": _META}}
)
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": LATEST.name,
    "Mcp-Method": "server/discover",
}
_STATUSES = {
    403: (WARNING, "look at Origin and Host checks, and at the rights of the token"),
    404: (WARNING, "is the path of the URL right?"),
    405: (WARNING, "is it an endpoint of HTTP+SSE? Then write sse+http"),
    407: (FAILED, "give the credentials of the proxy"),
    429: (WARNING, "wait, the server limits how often it is asked"),
}
"""States and advice for some statuses; a legacy server may answer 400."""

Stage = Callable[[Examination], StageResult | Awaitable[StageResult]]
STAGES: dict[str, Stage] = {
    "file": Examination.file,
    "variables": Examination.variables,
    "command": Examination.program,
    "dns": Examination.dns,
    "tcp": Examination.tcp,
    "tls": Examination.tls,
    "http": Examination.http,
    "era": Examination.era,
    "handshake": Examination.handshake,
    "lists": Examination.lists,
    "lint": Examination.lint,
    "pins": Examination.pins,
    "calls": Examination.calls,
}
"""Stages in their order."""
