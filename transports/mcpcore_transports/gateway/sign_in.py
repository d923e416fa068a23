"""Sign-in of a gateway's clients at the servers behind it, each for itself, by a browser.

A person opens a page of the gateway.  First the gateway's own authorization server tells who that
is, by a token for the gateway, which must be of the principal that was asked: a link that was
passed on signs nobody in.  Then the browser goes to the authorization server of the server behind,
and the token stays here.  A cookie holds all steps to one browser.

Sources: the elicitation page of 2026-07-28, "URL Mode Elicitation for OAuth Flows" and "Phishing";
RFC 9700 section 4.7 (cross-site request forgery); RFC 6265 (cookies).
"""

import hmac
import logging
import re
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from html import escape
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import anyio
from msgspec import Struct, structs

from mcpcore.auth.authorization import Refused
from mcpcore.auth.endpoints import Unreachable
from mcpcore.auth.grants import ClientIdentity
from mcpcore.auth.needs import Callback, NeedFailed, OpenUrl, Stored
from mcpcore.auth.registration import client_key
from mcpcore.auth.settings import AuthorizationSettings, CodeGrant
from mcpcore.errors import AuthorizationError, LocalProtocolError
from mcpcore.http.documents import DocumentReply, Page
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Authenticate, Principal, Refusal, Verdict
from mcpcore.relay.link import SignInOffer
from mcpcore_transports.auth.authorizer import AccessToken, Authorizer, http_url
from mcpcore_transports.auth.callback import PAGE, PAGE_HEADERS, CallbackListener
from mcpcore_transports.auth.stores import MemoryTokens
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.gateway.settings import SignInSettings
from mcpcore_transports.running.functions import called

logger = logging.getLogger("mcpcore.gateway")

PATH = "/sign-in"
CALLBACK = f"{PATH}/callback"
"""Page to which the gateway's own authorization server sends a browser back; that of the server
behind has a page below it of its own, so that neither can use what the other was asked for."""
_COOKIE = "mcpcore-sign-in"
_SECRET = re.compile(r"[\w-]{43}", re.ASCII)
_ATTEMPTS = 5
"""Sign-ins that may begin by one link."""
_CLIENTS = client_key("", CodeGrant.kind)
"""Beginning of the keys of registrations in a store."""
_NO_FLOW = "the user has to sign in"
_LEFT = "This link is not valid any more: go back to the program that gave it to you."
_OTHER = "You are somebody else here than in the program that gave you this link."
_FAILED = "The sign-in has failed: go back to the program that sent you here, and try again."
_DONE = "You are signed in: close this window and go back to the program that sent you here."
_WAIT = "A moment ..."
_STRANGER = "This browser did not begin this sign-in."

Told = Callable[[str, str | None], None]
"""Function for a principal that has signed in, and the id of the question, if there was one."""
Start = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
"""Function that runs a coroutine function in a task."""


class _Tokens(MemoryTokens):
    """Store of one account, with the registrations of all."""

    def __init__(self, registrations: MemoryTokens) -> None:
        super().__init__()
        self._registrations = registrations

    async def load(self, key: str) -> Stored:
        """Implement :meth:`TokenStore.load <mcpcore_transports.auth.stores.TokenStore.load>`."""
        shared = key.startswith(_CLIENTS)
        return await (self._registrations.load(key) if shared else super().load(key))

    async def save(self, key: str, record: bytes | None, version: int) -> Stored:
        """Implement :meth:`TokenStore.save <mcpcore_transports.auth.stores.TokenStore.save>`."""
        if key.startswith(_CLIENTS):
            return await self._registrations.save(key, record, version)
        return await super().save(key, record, version)


class _OpenSignIn:
    """Sign-in of one browser; for the authorizations in it, the way to send that to a URL."""

    own_page = True

    def __init__(self, browser: str) -> None:
        self.browser = browser
        """Value of its cookie."""
        self.url: str | None = None
        """URL to send it to next."""
        self.state: str | None = None
        """State of the callback that is awaited."""
        self.place = ""
        """Path of the page where it is."""
        self.text = _WAIT
        """Text of its page while it is sent nowhere."""
        self.scope = anyio.CancelScope()
        self._query = ""
        self._came = anyio.Event()

    async def ask(self, need: OpenUrl, listener: CallbackListener | None) -> Callback | NeedFailed:
        """Implement :meth:`SignIn.ask <mcpcore_transports.auth.browser.SignIn.ask>`."""
        self._came, self.url, self.state = anyio.Event(), need.url, need.state
        self.place = urlsplit(need.redirect_uri).path
        await self._came.wait()
        return Callback(self._query)

    def give(self, query: str) -> None:
        """Take the callback."""
        self.url = self.state = None
        self._query = query
        self._came.set()


class _Invitation(Struct, eq=False):
    """Link that was given to a client."""

    account: "Account"
    offer: SignInOffer
    until: float
    begun: int = 0
    attempt: _OpenSignIn | None = None


class Account(Authorizer):
    """Credential of one principal at one server."""

    own_page = True

    def __init__(self, desk: "ServerDesk", principal: str) -> None:
        settings, auth = desk.settings, structs.replace(desk.auth, account=principal)
        super().__init__(
            http_url(desk.url),
            auth,
            store=_Tokens(desk.registrations) if settings.tokens is None else settings.tokens,
            sign_in=self,
            keys=settings.signing_keys,
            ssl_context=settings.ssl_context,
            proxy=settings.proxy,
            link_settings=settings.http_link,
        )
        self.desk, self.principal = desk, principal
        self.attempt: _OpenSignIn | None = None
        """Sign-in that is under way."""
        self.asked: _Invitation | None = None
        self._refused = False
        """True if the server takes the token no more."""
        self._lacked: Refused | None = None
        """Refusal that the next sign-in is to mend, as it names scopes that the token lacks."""
        self._needs_person = False

    async def ask(self, need: OpenUrl, listener: CallbackListener | None) -> Callback | NeedFailed:
        """Implement :meth:`SignIn.ask <mcpcore_transports.auth.browser.SignIn.ask>`."""
        self._needs_person = self.attempt is None
        if self.attempt is None:
            return NeedFailed(_NO_FLOW)
        return await self.attempt.ask(need, listener)

    @property
    def loaded(self) -> bool:
        """True once the store has told whether there is a token."""
        return self._loaded

    @property
    def good(self) -> bool:
        """True if there is a token that its server has not refused for good."""
        return self.machine.token is not None and not self._refused

    @property
    def helped(self) -> bool:
        """True if the person can help: the token is not good, or lacks scopes that are named."""
        return not self.good or self._lacked is not None

    async def refused(self, refused: Refused) -> AccessToken:
        """Implement :meth:`RequestAuthorizer.refused`: without the person a refresh may do."""
        self._needs_person = False
        try:
            if self.attempt is not None:  # it may take as long as the person likes
                raise AuthorizationError(_NO_FLOW)
            return await super().refused(refused)
        except Unreachable:  # an outage, after which the token may be good, or refreshed
            raise
        except AuthorizationError:
            if refused.generation == self.machine.generation and refused.status != 403:
                self._refused = True
            elif self._needs_person:
                self._lacked = refused
            raise

    async def sign_in(self, attempt: _OpenSignIn, operation: str) -> None:
        """Let the person sign in.  Raises AuthorizationError."""
        why = self._lacked or Refused(status=401, lines=await self.challenges())
        self._lacked, self.attempt = None, attempt  # what is refused now is not asked for again
        generation, before = self.machine.generation, self._refused
        try:
            await super().refused(structs.replace(why, generation=generation, operation=operation))
            self._refused = False
        except AuthorizationError:
            self._refused = before  # what was refused meanwhile has not tried a refresh
            raise
        finally:
            self.attempt = None


class ServerDesk:
    """Sign-in of clients at one server: a :class:`mcpcore.relay.link.Desk`.

    ``told``: function that is told of each principal that has signed in.
    """

    def __init__(
        self,
        desk: "SignInDesk",
        name: str,
        url: str,
        auth: AuthorizationSettings,
        told: Told,
        start: Start,
    ) -> None:
        self.desk, self.name, self.url, self.settings = desk, name, url, desk.client
        self.auth = structs.replace(auth, grant=CodeGrant(redirect_uri=desk.callback_of(name)))
        self.told, self.start = told, start
        self.registrations = MemoryTokens()
        """Registration at the issuer, which all accounts share."""
        self._accounts: OrderedDict[str, Account] = OrderedDict()

    def account(self, principal: str) -> Account:
        """Return the credential of a principal, which may have none yet."""
        principal = str(principal)
        known = self._accounts.get(principal)
        if known is None:
            known = self._accounts[principal] = Account(self, principal)
            if len(self._accounts) > self.desk.settings.accounts:
                others = [each for each in self._accounts.values() if each is not known]
                unused = (each for each in others if not each.good and each.asked is None)
                del self._accounts[next(unused, others[0]).principal]
        self._accounts.move_to_end(principal)
        return known

    async def load(self, principal: str) -> None:
        """Take up the stored token of a principal, of before this process."""
        known = self._known(principal)
        if known is not None and known.loaded:
            return
        try:
            await self.account(principal).token()
        except Exception as error:  # of whatever store there is
            logger.warning("%s: the stored token is not used: %s", self.name, shown(error))

    def signed_in(self, principal: str | None) -> bool:
        """Implement :meth:`Desk.signed_in <mcpcore.relay.link.Desk.signed_in>`."""
        return self._known(principal) is not None and self.account(str(principal)).good

    def asked(self, principal: str | None) -> bool:
        """Implement :meth:`Desk.asked <mcpcore.relay.link.Desk.asked>`."""
        known = self._known(principal)
        return known is not None and self.desk.is_open(known.asked)

    def question(self, principal: str) -> SignInOffer:
        """Implement :meth:`Desk.question <mcpcore.relay.link.Desk.question>`."""
        known = self.account(principal)
        if not (known.helped or self.asked(principal)):
            raise LocalProtocolError("a sign-in would not help")
        return self.desk.ask(known)

    def _known(self, principal: str | None) -> Account | None:
        return None if principal is None else self._accounts.get(str(principal))


class SignInDesk:
    """Pages on which the clients of a gateway sign in at its servers.

    It judges the requests of clients by ``hook``.  ``client``: settings of the connections to the
    gateway's own authorization server.  Raises UrlRefused.
    """

    def __init__(
        self, settings: SignInSettings, client: ClientSettings, hook: Authenticate
    ) -> None:
        self.settings = settings
        parts = urlsplit(settings.url)
        origin = f"{parts.scheme}://{parts.netloc}"
        self._page, self._callback = f"{origin}{PATH}", f"{origin}{CALLBACK}"
        secure = parts.scheme == "https"
        self._cookie = f"__Host-{_COOKIE}" if secure else _COOKIE
        self._flags = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")
        self.client, self._hook = client, hook
        client_id, secret = settings.client_id, settings.client_secret
        known = ClientIdentity(client_id=client_id, client_secret=secret) if client_id else None
        self._identity = AuthorizationSettings(
            grant=CodeGrant(redirect_uri=self._callback),
            client=known,
            issuer=settings.issuer,
            scopes=frozenset(settings.scopes),
            offline=False,
            private=settings.private,
        )
        self._asked: OrderedDict[str, _Invitation] = OrderedDict()
        self._desks: list[ServerDesk] = []
        self._registrations = MemoryTokens()
        """Registration at the gateway's own issuer."""
        self.documents: Mapping[str, bytes] = getattr(hook, "documents", {})
        self.pages: dict[str, Page] = {PATH: self._begin, CALLBACK: self._come_back}

    def __call__(self, request: HttpRequest) -> Verdict | Awaitable[Verdict]:
        """Judge a request of a client, whose stored tokens are then known."""
        verdict = self._hook(request)
        return verdict if self.client.tokens is None else self._loaded(verdict)

    async def _loaded(self, judged: Verdict | Awaitable[Verdict]) -> Verdict:
        verdict = judged if isinstance(judged, Principal | Refusal) else await judged
        if isinstance(verdict, Principal):
            for desk in self._desks:
                await desk.load(verdict.name)
        return verdict

    def callback_of(self, server: str) -> str:
        """Return the redirect URI at the issuer of one server."""
        return f"{self._callback}/{quote(server, safe='')}"

    def open(self, desk: ServerDesk) -> None:
        """Let clients sign in at a server."""
        self._desks.append(desk)
        self.pages[urlsplit(self.callback_of(desk.name)).path] = self._come_back

    def is_open(self, asked: _Invitation | None) -> bool:
        """Return True for a link that is valid."""
        return asked is not None and asked.until > anyio.current_time()

    def ask(self, account: Account) -> SignInOffer:
        """Return where a person signs in.  Raises LocalProtocolError if too many are asked."""
        now = anyio.current_time()
        while self._asked and next(iter(self._asked.values())).until <= now:
            self._drop(next(iter(self._asked.values())))
        if account.asked is not None:
            if account.asked.begun <= _ATTEMPTS:
                return account.asked.offer
            self._drop(account.asked)
        if len(self._asked) >= self.settings.asked:
            for done in [each for each in self._asked.values() if each.account.asked is not each]:
                self._drop(done)
        if len(self._asked) >= self.settings.asked:
            raise LocalProtocolError("busy: too many users are asked to sign in")
        id, name = secrets.token_urlsafe(16), account.desk.name
        offer = SignInOffer(id, f"{self._page}?id={id}", f"Sign in at {name}.")
        account.asked = self._asked[id] = _Invitation(account, offer, now + self.settings.time)
        return offer

    def _drop(self, asked: _Invitation) -> None:
        del self._asked[asked.offer.id]
        if asked.account.asked is asked:
            asked.account.asked = None
        if asked.attempt is not None:
            asked.attempt.scope.cancel()

    # Pages

    def _begin(self, request: HttpRequest) -> DocumentReply:
        """Begin a sign-in, or go on with that of this browser."""
        query = _query(request)
        asked = self._asked.get(query.get("id", ""))
        if asked is None or request.method != "GET" or asked.until <= anyio.current_time():
            return _reply(404, _LEFT)
        browser, attempt = self._browser(request), asked.attempt
        if not browser:  # it is one once it comes back with the cookie
            line = f"{self._cookie}={secrets.token_urlsafe(32)}{self._flags}"
            return _reply(200, _WAIT, (b"set-cookie", line.encode()), (b"refresh", b"1"))
        if attempt is None or not hmac.compare_digest(attempt.browser, browser):
            if asked.account.asked is not asked:  # somebody has signed in by it
                return _reply(404, _LEFT)
            asked.begun += 1
            if asked.begun > _ATTEMPTS:
                return _reply(429, _FAILED)
            if attempt is not None:
                attempt.scope.cancel()
            asked.attempt = attempt = _OpenSignIn(browser)
            asked.account.desk.start(partial(self._carry, asked, attempt))
        if attempt.url is not None:
            return _reply(303, _WAIT, (b"location", attempt.url.encode()))
        if attempt.text != _WAIT:
            if attempt.text != _DONE:
                asked.attempt = None  # the next one begins anew
            return _reply(200, attempt.text)
        return _reply(200, _WAIT, (b"refresh", b"1"))

    def _come_back(self, request: HttpRequest) -> DocumentReply:
        """Take the callback of an authorization server to the browser that was sent there."""
        state, browser = _query(request).get("state", ""), self._browser(request)
        for asked in self._asked.values():
            attempt = asked.attempt
            if attempt is None or attempt.state is None or request.method != "GET":
                continue
            if hmac.compare_digest(attempt.state.encode(), state.encode()):
                if attempt.place != request.path:  # the code of another issuer (RFC 9700, 4.4)
                    return _reply(404, _LEFT)
                if not hmac.compare_digest(attempt.browser, browser):
                    return _reply(403, _STRANGER)
                attempt.give(request.query)
                return _reply(303, _WAIT, (b"location", asked.offer.url.encode()))
        return _reply(404, _LEFT)

    def _browser(self, request: HttpRequest) -> str:
        """Return the secret of a browser, "" if it has none."""
        lines = [value.decode("latin-1") for name, value in request.headers if name == b"cookie"]
        pairs = [pair.strip().partition("=") for line in lines for pair in line.split(";")]
        found = [value for name, _, value in pairs if name == self._cookie]
        return found[0] if len(found) == 1 and _SECRET.fullmatch(found[0]) else ""

    async def _carry(self, asked: _Invitation, attempt: _OpenSignIn) -> None:
        """Carry out a sign-in: who is it, and then a token of the server."""
        account, name = asked.account, asked.account.desk.name
        left = asked.until - anyio.current_time()
        with attempt.scope, anyio.move_on_after(left):
            try:
                who = await self._identified(attempt)
                if who != account.principal:
                    logger.warning("%s: somebody else has opened the link of a client", name)
                    attempt.text = _OTHER
                    return
                await account.sign_in(attempt, f"sign-in {asked.offer.id} {asked.begun}")
            except Exception as error:  # of whatever judges the token
                logger.warning("%s: a client has not signed in: %s", name, shown(error))
                attempt.text = _FAILED
                return
            attempt.text, account.asked = _DONE, None
            account.desk.told(account.principal, asked.offer.id)
        attempt.url = attempt.state = None

    async def _identified(self, attempt: _OpenSignIn) -> str | None:
        """Return the principal that a token for the gateway is of, None if it is of nobody."""
        client, url = self.client, self.settings.url
        authorizer = Authorizer(
            url,
            self._identity,
            store=_Tokens(self._registrations),
            sign_in=attempt,
            ssl_context=client.ssl_context,
            proxy=client.proxy,
            link_settings=client.http_link,
        )
        refused = Refused(status=401, lines=await authorizer.challenges(), operation="sign-in")
        token = await authorizer.refused(refused)
        parts = urlsplit(url)
        lines = [(b"authorization", token.header().encode()), (b"host", parts.netloc.encode())]
        path = parts.path or "/"
        judged = HttpRequest(method="POST", path=path, headers=lines, scheme=parts.scheme)
        verdict = await called(self._hook, judged)
        return verdict.name if isinstance(verdict, Principal) else None


def shown(error: Exception) -> str:
    """Return an error for the log; the text of one of others may hold a secret."""
    return str(error) if isinstance(error, AuthorizationError) else type(error).__name__


def _query(request: HttpRequest) -> dict[str, str]:
    try:
        return dict(parse_qsl(request.query, max_num_fields=32))
    except ValueError:
        return {}


def _reply(status: int, text: str, *lines: tuple[bytes, bytes]) -> DocumentReply:
    return DocumentReply(status, (*PAGE_HEADERS, *lines), PAGE.format(escape(text)).encode())
