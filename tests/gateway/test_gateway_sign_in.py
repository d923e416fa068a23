"""Sign-in of a gateway's clients at a server behind it: with a browser, each for itself alone."""

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from msgspec import structs

from mcpcore import Callbacks, Client, PeerError, connect
from mcpcore.auth.grants import ClientAuth, ClientIdentity
from mcpcore.auth.needs import Stored
from mcpcore.auth.resource_server import Issuer
from mcpcore.auth.settings import AuthorizationSettings, CodeGrant
from mcpcore.auth.upstream import Upstream
from mcpcore.errors import BadConfig, BadTarget, UrlRefused
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal, Verdict
from mcpcore.relay.settings import RelaySettings
from mcpcore.relay.sign_ins import TOOL
from mcpcore.spec.types.client_features import ElicitParams, ElicitResult
from mcpcore_conformance.auth.keys import PrivateKey, verify
from mcpcore_conformance.auth.model import CLIENT_CREDENTIALS, Request, Response, ServerSettings
from mcpcore_conformance.auth.model import Client as Registered
from mcpcore_conformance.auth.server import DevelopmentServer
from mcpcore_conformance.auth.serving import serve as serve_authority
from mcpcore_transports.auth.exchange import UpstreamTokens
from mcpcore_transports.auth.resource_server import ResourceServer
from mcpcore_transports.auth.stores import MemoryTokens
from mcpcore_transports.client.config import load_targets
from mcpcore_transports.gateway.gateway import Gateway
from mcpcore_transports.gateway.settings import GatewaySettings, SignInSettings, read_settings
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.running.functions import called
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.targets import HttpTarget, Replicas, WebSocketTarget
from tests.clock import patience
from tests.gateway.test_gateway import ERAS, MODERN, gateway, text
from tests.gateway.test_gateway_credentials import bearer, whoami
from tests.transports.asgi_fixture import free_port
from tests.transports.served import served

SIGNED_IN = "You are signed in: close this window"
pytestmark = pytest.mark.anyio


class Authority(DevelopmentServer):
    """The authorization server of both, where a browser is signed in as its header says."""

    refuses = False

    def handle(self, request: Request) -> Response:
        if request.path == "/token" and self.refuses:
            return Response(500)
        if request.path == "/authorize":
            structs.force_setattr(self.settings, "user", request.header("x-user") or "nobody")
        return super().handle(request)


class _Still(urllib.request.HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Browser:
    """A browser in which somebody is signed in at the authorization server."""

    def __init__(self, user: str) -> None:
        cookies = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(cookies)
        self._still = urllib.request.build_opener(cookies, _Still)
        self._opener.addheaders = self._still.addheaders = [("X-User", user)]

    async def get(self, url: str, *, once: bool = False) -> str:
        """Open a URL and wait until the page does not change any more; return its text."""
        while True:
            page, headers = await anyio.to_thread.run_sync(self.open, url)
            if once or "refresh" not in headers:
                return page
            await anyio.sleep(0.01)

    async def stop(self, url: str) -> str:
        """Open a URL until it leads to an authorization server; return where that leads back."""
        while True:
            place = await anyio.to_thread.run_sync(self._leads, url)
            if place is not None:
                return await anyio.to_thread.run_sync(self._leads, place) or ""
            await anyio.sleep(0.01)

    def _leads(self, url: str) -> str | None:
        """Where a URL redirects to."""
        try:
            self._still.open(url).close()
        except urllib.error.HTTPError as error:
            place: str | None = error.headers["location"]
            return place
        return None

    def open(self, url: str) -> tuple[str, Any]:
        """Open a URL; return the text of the page at its end, and the headers."""
        try:
            with self._opener.open(url) as response:
                return response.read().decode(), response.headers
        except urllib.error.HTTPError as error:
            return error.read().decode(), error.headers


class Scene:
    """The authorization server, the server behind, and the gateway."""

    authority: Authority
    url = ""
    behind = ""
    refused = False
    """True to refuse all tokens at the server behind."""
    wanted = ""
    """Scope without which it refuses tokens."""
    targets: Mapping[str, Any]
    rules: GatewaySettings
    inbound: ServeSettings

    def __init__(self) -> None:
        self.tokens = MemoryTokens()
        """Store of the gateway, which a test may exchange for an empty one."""

    async def load(self, key: str) -> Stored:
        return await self.tokens.load(key)

    async def save(self, key: str, record: bytes | None, version: int) -> Stored:
        return await self.tokens.save(key, record, version)

    def lock(self, key: str) -> AbstractAsyncContextManager[None]:
        return self.tokens.lock(key)

    async def lacking(self, guard: ResourceServer, request: HttpRequest) -> Verdict:
        """The verdict of a guard, but for a token that lacks what is wanted."""
        verdict: Any = await called(guard, request)
        if isinstance(verdict, Refusal) or self.wanted in verdict.scopes:
            return verdict  # type: ignore[no-any-return]
        challenge = f'Bearer error="insufficient_scope", scope="{self.wanted}"'
        return Refusal(status=403, challenge=challenge)

    async def token(self, name: str) -> str:
        """A token of somebody for the gateway."""
        client = ClientIdentity(client_id=name, client_secret=f"{name}-secret")
        issuer = self.authority.settings.issuer
        upstream = Upstream(resource=self.url, issuer=issuer, client=client)
        return (await UpstreamTokens(upstream, proxy=None).token()).reveal()

    @asynccontextmanager
    async def client(self, name: str, **more: Any) -> AsyncIterator[Client]:
        async with connect(self.url, headers=bearer(await self.token(name)), **more) as client:
            yield client


@asynccontextmanager
async def scene(
    server: str = MODERN, up: str = "http", settings: SignInSettings | None = None
) -> AsyncIterator[Scene]:
    made = Scene()

    def build(issuer: str) -> Authority:
        clients = tuple(
            Registered(
                client_id=name,
                method=ClientAuth.BASIC,
                secret=f"{name}-secret",
                grants=frozenset({CLIENT_CREDENTIALS}),
            )
            for name in ("ann", "ben")
        )
        known = ServerSettings(issuer=issuer, consent=False, clients=clients, scopes=("more",))
        key = PrivateKey.generate("ES256")
        return Authority(known, [key], verify, random=secrets.token_bytes)

    async with anyio.create_task_group() as tasks:
        found: Any = await tasks.start(serve_authority, build)
        made.authority = found
        issuer = Issuer(issuer=made.authority.settings.issuer)

        def guarded(url: str) -> ServeSettings:
            guard = ResourceServer(url, [issuer])

            def judge(request: HttpRequest) -> Any:
                if url != made.behind or not (made.refused or made.wanted):
                    return guard(request)
                return Refusal() if made.refused else made.lacking(guard, request)

            judge.documents = guard.documents  # type: ignore[attr-defined]
            return ServeSettings(http_link=HttpServerSettings(authenticate=judge))

        back, front = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        made.behind, made.url = f"http://{back}/mcp", f"http://{front}/mcp"
        auth = AuthorizationSettings(grant=CodeGrant(personal=True))
        kind = WebSocketTarget if up == "ws" else HttpTarget
        target = kind(made.behind.replace("http", up, 1), auth=auth)
        sign_in = settings or SignInSettings(url=made.url)
        rules = GatewaySettings(sign_in=structs.replace(sign_in, url=made.url))
        rules = structs.replace(
            rules,
            client=structs.replace(rules.client, tokens=made),
            relay=RelaySettings(sign_in_wait=5.0),
        )
        made.targets, made.rules, made.inbound = {"only": target}, rules, guarded(made.url)
        binding: dict[str, Any] = {up: back}
        async with (
            served(whoami(), settings=guarded(made.behind), revisions=[server], **binding),
            gateway(made.targets, rules, http=front, settings_of=made.inbound),
        ):
            yield made
        tasks.cancel_scope.cancel()


def visiting(browser: Browser, said: list[str]) -> Callbacks:
    """Callbacks of a client whose user opens each URL with a browser."""

    async def visit(params: ElicitParams) -> ElicitResult:
        said.append(await browser.get(params.url or ""))
        return ElicitResult(action="accept")

    return Callbacks(elicitation_url=visit)


@pytest.mark.parametrize("up", ["http", "ws"])
@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("client", ERAS)
async def test_each_user_signs_in_once_and_is_itself(client: str, server: str, up: str) -> None:
    async with scene(server, up) as made:
        for name in ("ann", "ben"):
            said: list[str] = []
            callbacks = visiting(Browser(name), said)
            async with made.client(name, revision=client, callbacks=callbacks) as connected:
                assert [tool.name for tool in await connected.tools()] == [TOOL]
                for _ in range(2):
                    result = await connected.call_tool("who")
                    assert text(result).endswith(f'"{name}"]')
                assert [tool.name for tool in await connected.tools()] == ["who"]
            assert [SIGNED_IN in page for page in said] == [True]


async def link(client: Client) -> str:
    """The URL that a client without URL elicitation is given as text."""
    return text(await client.call_tool(TOOL)).rpartition(" ")[2]


async def test_a_link_that_was_passed_on_signs_nobody_in() -> None:
    async with scene() as made, made.client("ann") as ann, made.client("ben") as ben:
        url = await link(ann)
        assert "somebody else" in await Browser("ben").get(url)
        for client in (ann, ben):
            with pytest.raises(PeerError, match="only: the user has to sign in there first"):
                await client.call_tool("who")
        assert SIGNED_IN in await Browser("ann").get(url)
        assert text(await ann.call_tool("who")).endswith('"ann"]')
        with pytest.raises(PeerError, match="has to sign in"):
            await ben.call_tool("who")


async def test_no_step_can_be_passed_on_to_another_browser() -> None:
    """That of an attacker stops before the server's authorization server: a victim goes on."""
    async with scene() as made, made.client("ann") as ann:
        url, attacker, victim = await link(ann), Browser("ann"), Browser("ben")
        stops: list[str] = []
        while len(stops) < 2:
            stops += [await attacker.stop(url)]
            said, _ = await anyio.to_thread.run_sync(victim.open, stops[-1])
            assert "This browser did not begin this sign-in." in said
            await attacker.get(stops[-1], once=True)
        for place in ("", "?id=x", "?state=x&code=y", "/callback?state=x&code=y"):
            page = url.partition("?")[0] + place
            assert "not valid any more" in (await anyio.to_thread.run_sync(victim.open, page))[0]


async def test_a_sign_in_that_fails_begins_anew_and_a_link_is_used_once() -> None:
    async with scene() as made, made.client("ann") as ann:
        url = await link(ann)
        assert await link(ann) == url
        made.authority.refuses = True
        browser = Browser("ann")
        assert "has failed" in await browser.get(url)
        made.authority.refuses = False
        assert SIGNED_IN in await browser.get(url)
        assert "not valid any more" in await Browser("ann").get(url)
        assert text(await ann.call_tool("who")).endswith('"ann"]')


async def test_a_token_that_the_server_takes_no_more_is_asked_for_again() -> None:
    async with scene() as made, made.client("ann") as ann:
        first = await link(ann)
        await Browser("ann").get(first)
        assert text(await ann.call_tool("who")).endswith('"ann"]')
        made.refused = True
        with pytest.raises(PeerError, match="the user has to sign in"):
            await ann.call_tool("who")
        made.refused = False
        with pytest.raises(PeerError, match=f"call the tool {TOOL}"):
            await ann.call_tool("who")
        again = await link(ann)
        assert again != first
        assert SIGNED_IN in await Browser("ann").get(again)
        assert text(await ann.call_tool("who")).endswith('"ann"]')


async def test_a_gateway_that_is_started_anew_knows_who_has_signed_in() -> None:
    async with scene() as made:
        async with made.client("ann") as ann:
            await Browser("ann").get(await link(ann))
        front = f"127.0.0.1:{free_port()}"
        async with gateway(made.targets, made.rules, http=front, settings_of=made.inbound):
            token = bearer(await made.token("ann"))
            async with connect(f"http://{front}/mcp", headers=token) as ann:
                with patience():
                    while [tool.name for tool in await ann.tools()] == [TOOL]:  # noqa: ASYNC110
                        await anyio.sleep(0.01)
                assert text(await ann.call_tool("who")).endswith('"ann"]')


async def test_a_link_begins_few_sign_ins_and_the_last_browser_goes_on() -> None:
    async with scene() as made, made.client("ann") as ann:
        url = await link(ann)
        for _ in range(4):
            await Browser("ann").stop(url)
        last = Browser("ann")
        await last.stop(url)
        assert "has failed" in await Browser("ann").get(url)
        assert SIGNED_IN in await last.get(url)


async def test_a_sign_in_asks_for_the_scopes_that_the_server_has_missed() -> None:
    async with scene() as made, made.client("ann") as ann:
        await Browser("ann").get(await link(ann))
        await ann.call_tool("who")
        made.wanted = "more"
        for said in ("the user has to sign in", f"call the tool {TOOL}"):
            with pytest.raises(PeerError, match=said):
                await ann.call_tool("who")
        assert SIGNED_IN in await Browser("ann").get(await link(ann))
        assert text(await ann.call_tool("who")).endswith('"ann"]')


async def test_links_end_and_are_limited() -> None:
    settings = SignInSettings(url=AT, asked=1, time=0.001)
    async with scene(settings=settings) as made, made.client("ann") as ann:
        assert "not valid any more" in await Browser("ann").get(await link(ann))
    settings = SignInSettings(url=AT, asked=1, accounts=1)
    async with scene(settings=settings) as made, made.client("ann") as ann:
        await Browser("ann").get(await link(ann))
        made.tokens = MemoryTokens()
        async with made.client("ben") as ben:
            await link(ben)
        with pytest.raises(PeerError, match="call the tool"):
            await ann.call_tool("who")
        with pytest.raises(PeerError, match="busy: too many users are asked to sign in"):
            await ann.call_tool(TOOL)


PERSONAL = AuthorizationSettings(grant=CodeGrant(personal=True))
AT = "http://127.0.0.1:9/mcp"


def _open(target: Any, settings: SignInSettings | None, *, hook: bool) -> None:
    made = Gateway({"only": target}, settings=GatewaySettings(sign_in=settings))
    made.authenticate((lambda request: Principal("ann")) if hook else None)


@pytest.mark.parametrize(
    ("target", "settings", "hook", "said"),
    [
        (HttpTarget(AT, auth=PERSONAL), None, True, "a page of the gateway, whose URL is not set"),
        (HttpTarget(AT, auth=PERSONAL), SignInSettings(url=AT), False, "does not authenticate"),
        (
            Replicas(targets=[HttpTarget(AT, auth=PERSONAL), HttpTarget(AT)]),
            SignInSettings(url=AT),
            True,
            "clients sign in at one server, not at replicas",
        ),
        (
            HttpTarget(AT, auth=PERSONAL),
            SignInSettings(url="http://gateway.example/mcp"),
            True,
            "neither on loopback nor https",
        ),
    ],
)
async def test_what_a_sign_in_needs(target: Any, settings: Any, hook: bool, said: str) -> None:
    with pytest.raises((BadTarget, UrlRefused), match=said):
        _open(target, settings, hook=hook)


async def test_a_client_alone_has_no_sign_in_of_many() -> None:
    with pytest.raises(BadTarget, match="clients sign in for themselves at a gateway alone"):
        async with connect(HttpTarget(AT, auth=PERSONAL)):
            pass


def test_the_settings_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mcp.json"
    signing = {"url": AT, "clientId": "gateway", "clientSecret": "${GATEWAY_SECRET}"}
    server = {"url": AT, "oauth": {"grant": "sign_in", "scopes": ["read"]}}
    file.write_text(json.dumps({"gateway": {"signIn": signing}, "mcpServers": {"a": server}}))
    with pytest.raises(BadConfig, match=r"gateway.signIn.clientSecret: .* GATEWAY_SECRET"):
        read_settings(file)
    monkeypatch.setenv("GATEWAY_SECRET", "hidden words")
    settings = read_settings(file)
    assert settings.sign_in is not None
    assert settings.sign_in.client_secret == "hidden words"
    assert "hidden words" not in repr(settings)
    target = load_targets(file)["a"]
    assert isinstance(target, HttpTarget)
    assert isinstance(target.auth, AuthorizationSettings)
    assert isinstance(target.auth.grant, CodeGrant)
    assert target.auth.grant.personal
