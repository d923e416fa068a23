"""Sign-in of a gateway's clients at a server behind it: with a browser, each for itself alone."""

import json
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import anyio
import anyio.to_thread
import pytest
from msgspec import structs

from mcpcore import Callbacks, Client, ClientSettings, PeerError, connect
from mcpcore.auth.authorization import Refused
from mcpcore.auth.grants import ClientAuth, ClientIdentity
from mcpcore.auth.needs import NeedFailed, OpenUrl, Stored
from mcpcore.auth.resource_server import Issuer
from mcpcore.auth.settings import AuthorizationSettings, CodeGrant
from mcpcore.auth.upstream import Upstream
from mcpcore.errors import AuthorizationError, BadConfig, BadTarget, UrlRefused
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal, Verdict
from mcpcore.relay.settings import RelaySettings
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
from mcpcore_transports.gateway.sign_in import Account, ServerDesk, SignInDesk
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.running.functions import called
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.targets import HttpTarget, Replicas, WebSocketTarget
from tests.auth.world import answer, key_of
from tests.clock import turns, until
from tests.gateway.test_gateway import ERAS, LEGACY, MODERN, gateway, text
from tests.gateway.test_gateway_credentials import bearer, whoami
from tests.ports import free_port
from tests.transports.auth.auth_site import Authority as Site
from tests.transports.auth.auth_site import authority
from tests.transports.auth.test_auth_authorizer import expiring
from tests.transports.served import served

TOOL = "sign_in_at_only"
PERSONAL = AuthorizationSettings(grant=CodeGrant(personal=True))
AT = "http://127.0.0.1:9/mcp"
LACKING = 'Bearer error="insufficient_scope", scope="more"'
SIGNED_IN = "You are signed in: close this window"
pytestmark = pytest.mark.anyio


class Authority(DevelopmentServer):
    """The authorization server of both, where a browser is signed in as its header says."""

    refuses = False
    registered = 0

    def metadata(self) -> dict[str, Any]:
        return {**super().metadata(), "authorization_response_iss_parameter_supported": False}

    def handle(self, request: Request) -> Response:
        if request.path == "/token" and self.refuses:
            return Response(500)
        self.registered += request.path == "/register"
        if request.path == "/authorize":
            structs.force_setattr(self.settings, "user", request.header("x-user") or "nobody")
        return _without_issuer(super().handle(request))


def _without_issuer(response: Response) -> Response:
    """A redirect that does not tell whose it is, as those of many issuers."""
    headers = tuple((name, re.sub("&iss=[^&]*", "", value)) for name, value in response.headers)
    return Response(response.status, headers, response.body)


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
        return await anyio.to_thread.run_sync(self._leads, await self.sent(url)) or ""

    async def sent(self, url: str) -> str:
        """Open a URL until it leads to an authorization server; return where that is."""
        while True:
            place = await anyio.to_thread.run_sync(self._leads, url)
            if place is not None:
                return place
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


class Evil(Authority):
    """An authorization server that sends browsers on to that of another server."""

    then = ""
    code: str | None = None

    def handle(self, request: Request) -> Response:
        if request.path == "/authorize":
            asked, other = parse_qs(request.query), urlsplit(self.then)
            query = parse_qs(other.query) | {"state": asked["state"]}
            place = other._replace(query=urlencode(query, doseq=True)).geturl()
            return Response(302, (("location", place),))
        if request.path == "/token":
            self.code = request.form()["code"]
        return super().handle(request)


class Scene:
    """The authorization server, the server behind, and the gateway."""

    authority: Authority
    url = ""
    behind = ""
    refused = False
    """True to refuse all tokens at the server behind."""
    wanted = ""
    """Scope without which it refuses tokens; blank: it does not name it."""
    forbidden = ""
    """Name of somebody whom it forbids everything."""
    broken = False
    """True to raise where the gateway judges a token."""
    evil: Evil
    """Issuer of another server behind."""
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
        if self.forbidden:
            return Refusal(status=403) if self.forbidden in verdict else verdict
        scope = f', scope="{self.wanted}"' if self.wanted.strip() else ""
        return Refusal(status=403, challenge=f'Bearer error="insufficient_scope"{scope}')

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
    server: str = MODERN,
    up: str = "http",
    settings: SignInSettings | None = None,
    *,
    evil: bool = False,
    kept: bool = True,
) -> AsyncIterator[Scene]:
    """``evil``: there is another server, of another issuer; ``kept``: tokens are stored."""
    made = Scene()

    def build(kind: type[Authority], issuer: str) -> Authority:
        clients = tuple(
            Registered(
                client_id=name,
                method=ClientAuth.BASIC,
                secret=f"{name}-secret",
                grants=frozenset({CLIENT_CREDENTIALS}),
            )
            for name in ("ann", "ben", "carl")
        )
        known = ServerSettings(issuer=issuer, consent=False, clients=clients, scopes=("more",))
        key = PrivateKey.generate("ES256")
        return kind(known, [key], verify, random=secrets.token_bytes)

    def guarded(url: str, issuer: Authority) -> ServeSettings:
        guard = ResourceServer(url, [Issuer(issuer=issuer.settings.issuer)])

        def judge(request: HttpRequest) -> Any:
            if url == made.url and made.broken and len(request.headers) == 2:
                raise RuntimeError("data base is away")
            if url != made.behind or not (made.refused or made.wanted or made.forbidden):
                return guard(request)
            return Refusal() if made.refused else made.lacking(guard, request)

        judge.documents = guard.documents  # type: ignore[attr-defined]
        return ServeSettings(http_link=HttpServerSettings(authenticate=judge))

    async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
        made.authority = await tasks.start(serve_authority, partial(build, Authority))
        back, front, other = (f"127.0.0.1:{free_port()}" for _ in range(3))
        made.behind, made.url = f"http://{back}/mcp", f"http://{front}/mcp"
        kind = WebSocketTarget if up == "ws" else HttpTarget
        made.targets = {"only": kind(made.behind.replace("http", up, 1), auth=PERSONAL)}
        rules = GatewaySettings(
            sign_in=structs.replace(settings or SignInSettings(url=AT), url=made.url),
            relay=RelaySettings(sign_in_wait=5.0),
        )
        client = structs.replace(rules.client, tokens=made if kept else None)
        made.rules = structs.replace(rules, client=client)
        made.inbound = guarded(made.url, made.authority)
        behind = guarded(made.behind, made.authority)
        binding: dict[str, Any] = {up: back}
        await stack.enter_async_context(
            served(whoami(), settings=behind, revisions=[server], **binding)
        )
        if evil:
            made.evil = await tasks.start(serve_authority, partial(build, Evil))
            url = f"http://{other}/mcp"
            made.targets = {**made.targets, "evil": HttpTarget(url, auth=PERSONAL)}
            settings_of = guarded(url, made.evil)
            await stack.enter_async_context(served(whoami(), settings=settings_of, http=other))
        await stack.enter_async_context(
            gateway(made.targets, made.rules, http=front, settings_of=made.inbound)
        )
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


async def link(client: Client, prefix: str = "") -> str:
    """The URL that a client without URL elicitation is given as text."""
    tool = f"{prefix}sign_in_at_{prefix.removesuffix('__') or 'only'}"
    return text(await client.call_tool(tool)).rpartition(" ")[2]


async def test_a_link_that_was_passed_on_signs_nobody_in() -> None:
    async with scene() as made, made.client("ann") as ann, made.client("ben") as ben:
        url = await link(ann)
        assert "somebody else" in await Browser("ben").get(url)
        for client in (ann, ben):
            with pytest.raises(
                PeerError, match=f"only: the user has to sign in first: call its tool {TOOL}"
            ):
                await client.call_tool("who")
        assert SIGNED_IN in await Browser("ann").get(url)
        assert text(await ann.call_tool("who")).endswith('"ann"]')
        with pytest.raises(PeerError, match="has to sign in first"):
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
        await ann.call_tool("who")
        made.refused = True
        for _ in range(4):  # more than one operation may have
            with pytest.raises(PeerError, match=f"call its tool {TOOL}"):
                await ann.call_tool("who")
            again = await link(ann)
            assert again != first
            assert SIGNED_IN in await Browser("ann").get(again)
        with pytest.raises(PeerError, match=f"call its tool {TOOL}"):
            await ann.call_tool("who")
        made.refused = False
        assert SIGNED_IN in await Browser("ann").get(await link(ann))
        assert text(await ann.call_tool("who")).endswith('"ann"]')


@pytest.mark.parametrize("client", ERAS)
async def test_a_user_who_opens_urls_is_asked_by_the_call_that_is_refused(client: str) -> None:
    async with scene() as made:
        said: list[str] = []
        callbacks = visiting(Browser("ann"), said)
        async with made.client("ann", revision=client, callbacks=callbacks) as ann:
            await ann.call_tool("who")
            made.wanted = "more"
            assert text(await ann.call_tool("who")).endswith('"ann"]')
        assert [SIGNED_IN in page for page in said] == [True, True]


async def test_a_gateway_that_is_started_anew_knows_who_has_signed_in() -> None:
    async with scene() as made:
        async with made.client("ann") as ann:
            await Browser("ann").get(await link(ann))
        front = f"127.0.0.1:{free_port()}"
        async with gateway(made.targets, made.rules, http=front, settings_of=made.inbound):
            token = bearer(await made.token("ann"))
            async with connect(f"http://{front}/mcp", headers=token) as ann:
                assert text(await ann.call_tool("who")).endswith('"ann"]')


async def test_a_link_begins_few_sign_ins() -> None:
    async with scene() as made, made.client("ann") as ann:
        url = await link(ann)
        for _ in range(6):  # such as a preview, which has no cookies
            await Browser("ann").get(url, once=True)
        for _ in range(4):
            await Browser("ann").stop(url)
        last = Browser("ann")
        await last.stop(url)
        assert "has failed" in await Browser("ann").get(url)
        again = await link(ann)
        assert again != url
        assert SIGNED_IN in await Browser("ann").get(again)


@pytest.mark.parametrize("kept", [True, False])
async def test_all_users_share_a_registration(kept: bool) -> None:
    async with scene(kept=kept) as made:
        for name in ("ann", "ben", "ann"):
            async with made.client(name) as client:
                made.refused = True
                with pytest.raises(PeerError):
                    await client.call_tool("who")
                made.refused = False
                assert SIGNED_IN in await Browser(name).get(await link(client))
        assert made.authority.registered == 2  # for the gateway itself, and for the server


async def test_a_hook_that_raises_ends_the_sign_in_alone() -> None:
    async with scene() as made, made.client("ann") as ann:
        url = await link(ann)
        made.broken = True
        browser = Browser("ann")
        assert "has failed" in await browser.get(url)
        made.broken = False
        assert SIGNED_IN in await browser.get(url)


async def test_a_user_whom_the_server_forbids_shuts_out_nobody_else() -> None:
    async with scene(LEGACY) as made, made.client("ann") as ann, made.client("ben") as ben:
        for name, client in (("ann", ann), ("ben", ben)):
            await Browser(name).get(await link(client))
        made.forbidden = "ann"
        for _ in range(4):
            with pytest.raises(PeerError):
                await ann.call_tool("who")
        assert text(await ben.call_tool("who")).endswith('"ben"]')


async def test_the_code_of_one_server_is_given_to_no_other() -> None:
    """The mix-up of RFC 9700 section 4.4: Ben's code for one server ends at the issuer of another,
    and from there at Ann's callback."""
    async with scene(evil=True) as made, made.client("ann") as ann, made.client("ben") as ben:
        url, attacker = await link(ann, "only__"), Browser("ann")
        await attacker.get(await attacker.stop(url), once=True)
        made.evil.then = await attacker.sent(url)
        await Browser("ben").get(await link(ben, "evil__"))
        assert made.evil.code is None


@pytest.mark.parametrize("named", [True, False])
async def test_a_scope_that_nobody_grants_locks_nobody_out(named: bool) -> None:
    async with scene() as made, made.client("ann") as ann:
        await Browser("ann").get(await link(ann))
        await ann.call_tool("who")
        made.wanted = "secret" if named else " "
        with pytest.raises(PeerError):
            await ann.call_tool("who")
        if named:
            url = await link(ann)
            assert "has failed" in await Browser("ann").get(url)
        made.wanted = ""
        if named:
            assert SIGNED_IN in await Browser("ann").get(url)
        assert [tool.name for tool in await ann.tools()] == ["who"]
        assert text(await ann.call_tool("who")).endswith('"ann"]')


async def kept_for_ann(stage: Site, store: MemoryTokens) -> None:
    """Store a token of Ann, which can be refreshed."""
    await expiring(stage, store, 400)
    kept = await store.load(key_of(stage.server))
    await store.save(key_of(stage.server, account="ann"), kept.record, 0)


@asynccontextmanager
async def account_of_ann() -> AsyncIterator[tuple[Site, Account]]:
    """A server with its authorization server, and Ann's account there, which has a token."""
    store = MemoryTokens()
    async with authority() as stage, anyio.create_task_group() as tasks:
        await kept_for_ann(stage, store)
        desk = SignInDesk(SignInSettings(url=AT), ClientSettings(tokens=store), lambda _: Refusal())
        start: Any = tasks.start_soon
        made = ServerDesk(desk, "only", stage.server, PERSONAL, lambda *_: None, start)
        account = made.account("ann")
        await account.token()
        yield stage, account


async def test_a_sign_in_in_vain_leaves_the_token_that_there_was() -> None:
    """Though it was refused meanwhile, as it had ended: a refresh may do."""
    refused = Refused(status=401, lines=("Bearer",), generation=1)
    asked, gone = anyio.Event(), anyio.Event()

    class Person:
        async def ask(self, need: OpenUrl, listener: object) -> NeedFailed:
            asked.set()
            await gone.wait()
            return NeedFailed("nobody is there")

    async with account_of_ann() as (_, account):
        account._lacked = Refused(status=403, lines=(LACKING,), generation=1)

        async def sign_in() -> None:
            person: Any = Person()
            with pytest.raises(AuthorizationError, match="nobody is there"):
                await account.sign_in(person, "sign-in")

        async with anyio.create_task_group() as signing:
            signing.start_soon(sign_in)
            await asked.wait()
            with pytest.raises(AuthorizationError, match="has to sign in"):
                await account.refused(refused)
            assert not account.good
            gone.set()
        assert account.good
        assert (await account.refused(refused)).header() == "Bearer access-1"


async def test_an_outage_of_an_issuer_asks_nobody_to_sign_in() -> None:
    refused = Refused(status=401, lines=("Bearer",), generation=1)
    async with account_of_ann() as (stage, account):
        place = f"{stage.site.url}/token"
        stage.world.pages[place] = answer({}, 503)
        with pytest.raises(AuthorizationError, match="status 503"):
            await account.refused(refused)
        assert account.good
        del stage.world.pages[place]
        assert (await account.refused(refused)).header() == "Bearer access-1"


class Slow(MemoryTokens):
    """A store that takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting, self.go_on = 0, anyio.Event()
        self.go_on.set()

    async def load(self, key: str) -> Stored:
        self.waiting += 1
        await self.go_on.wait()
        return await super().load(key)


async def test_every_request_waits_for_the_stored_token() -> None:
    """Also after one that has gone away meanwhile."""
    store, found = Slow(), list[bool]()
    async with authority() as stage, anyio.create_task_group() as tasks:
        await kept_for_ann(stage, store)
        store.waiting, store.go_on = 0, anyio.Event()
        desk = SignInDesk(
            SignInSettings(url=AT), ClientSettings(tokens=store), lambda _: Principal("ann")
        )
        made = ServerDesk(desk, "only", stage.server, PERSONAL, lambda *_: None, lambda _: None)
        desk.open(made)

        async def judge() -> None:
            await called(desk, HttpRequest(method="POST", path="/mcp", headers=[]))
            found.append(made.signed_in("ann"))

        async with anyio.create_task_group() as gone:
            gone.start_soon(judge)
            await until(lambda: store.waiting)
            gone.cancel_scope.cancel()
        tasks.start_soon(judge)
        tasks.start_soon(judge)
        await turns()
        assert found == []
        store.go_on.set()
    assert found == [True, True]


async def test_links_end_and_are_limited() -> None:
    settings = SignInSettings(url=AT, asked=1, time=0.001)
    async with scene(settings=settings) as made, made.client("ann") as ann:
        assert "not valid any more" in await Browser("ann").get(await link(ann))
    settings = SignInSettings(url=AT, asked=1, accounts=1)
    async with scene(settings=settings, kept=False) as made, made.client("ann") as ann:
        await Browser("ann").get(await link(ann))
        async with made.client("ben") as ben:
            assert [tool.name for tool in await ben.tools()] == [TOOL]
            await ann.call_tool("who")  # a visitor costs nobody the place
            await link(ben)
        with pytest.raises(PeerError, match="busy: too many users are asked to sign in"):
            await ann.call_tool(TOOL)


def _open(target: Any, settings: SignInSettings | None, *, hook: bool) -> None:
    made = Gateway({"only": target}, settings=GatewaySettings(sign_in=settings))
    made.authenticate((lambda request: Principal("ann")) if hook else None)


async def test_the_place_of_who_is_signed_in_is_kept() -> None:
    settings = SignInSettings(url=AT, accounts=2)
    async with (
        scene(settings=settings, kept=False) as made,
        made.client("ann") as ann,
        made.client("ben") as ben,
        made.client("carl") as carl,
    ):
        for name, client in (("ann", ann), ("ben", ben)):
            await Browser(name).get(await link(client))
        made.refused = True
        with pytest.raises(PeerError):
            await ben.call_tool("who")
        made.refused = False
        await link(carl)
        assert text(await ann.call_tool("who")).endswith('"ann"]')


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


@pytest.mark.parametrize(
    ("url", "proxy", "said"),
    [
        (AT, "http://proxy.example:3128", "proxy.example:3128 is its proxy"),
        ("http://server.example/mcp", None, "not an https URL"),
    ],
)
def test_no_token_of_a_person_goes_in_the_clear(url: str, proxy: str | None, said: str) -> None:
    client = ClientSettings(proxy=proxy)
    settings = GatewaySettings(sign_in=SignInSettings(url=AT), client=client)
    with pytest.raises(UrlRefused, match=said):
        Gateway({"only": HttpTarget(url, auth=PERSONAL)}, settings=settings)


def test_a_page_of_the_sign_in_is_no_route() -> None:
    settings = GatewaySettings(sign_in=SignInSettings(url=AT), routes={"/sign-in": ("only",)})
    made = Gateway({"only": HttpTarget(AT, auth=PERSONAL)}, settings=settings)
    with pytest.raises(BadTarget, match="'/sign-in' is a page of the sign-in"):
        made.authenticate(lambda request: Principal("ann"))


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
