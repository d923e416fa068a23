"""The client's authorization in virtual time: processes that share a store, and what goes wrong.

``python -m tests.simulation.authorization --schedules 20000`` plays many seeds; ``--seed N`` plays
one again and shows what happens in it.

Several processes use one protected server and one store.  Each need of each machine takes some
time, during which others go on; a seed draws what may go wrong in its run (:data:`KINDS`), and how
often.  The rules are held from what goes over the wires: see :class:`Books`.
"""

import base64
import json
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from msgspec import Struct

from mcpcore.auth.authorization import Authorization, AuthState, Refused
from mcpcore.auth.endpoints import Unreachable
from mcpcore.auth.grants import ClientIdentity, SigningKey, challenge_of
from mcpcore.auth.needs import (
    Callback,
    Done,
    Fetch,
    Fetched,
    Listen,
    Load,
    Lock,
    Need,
    NeedFailed,
    Obtain,
    OpenUrl,
    Outcome,
    Save,
    Sign,
    Signed,
    Stored,
    Text,
    Unlock,
)
from mcpcore.auth.settings import (
    AnyGrant,
    AssertionGrant,
    AuthorizationSettings,
    ClientCredentialsGrant,
    CodeGrant,
    DpopKey,
)
from mcpcore.errors import AuthorizationError
from tests.faults import seeds
from tests.simulation.rules import BreachError, demand
from tests.simulation.world import World

SERVER = "https://mcp.example/mcp"
ISSUERS = ("https://a.example", "https://b.example/tenant")
_EVIL = "https://evil.example"
_EPOCH = 1_700_000_000.0
_SPAN = 4000.0
"""Seconds in which things go wrong."""
_PERIOD = 300.0
_DAY = 86_400.0
_FETCHES = 12
"""Requests of one flow at most: refresh, discovery, registration, a grant, and their nonces."""
_LOCK_TIME = 330.0
_RESTING = (AuthState.IDLE, AuthState.READY, AuthState.FAILED)

KINDS = (
    "lost request",
    "lost response",
    "garbage",
    "slow",
    "denied",
    "mixed up",
    "store",
    "cancelled",
    "crash",
    "jump",
    "revoked",
    "401 for ever",
    "403 for ever",
    "migration",
    "poisoned",
)
"""Things that go wrong; a run has some of them."""


class Secret(Struct):
    """A secret: who has made it; and if that was when its metadata named a thief's endpoint."""

    issuer: str
    poisoned: bool = False


class Books:
    """What went over the wires, and the rules about it.

    No secret goes to another issuer than its own; nothing is asked for beyond the ceiling; only who
    holds the lock refreshes and stores; a rotating refresh token is not used twice, unless nobody
    could learn its successor; a flow makes a bounded number of requests, opens one URL at most, and
    ends once, without the lock; an operation causes a bounded number of flows; no proof is used
    twice.
    """

    def __init__(self) -> None:
        self.secrets: dict[str, Secret] = {}
        self.orphans: set[str] = set()
        """Refresh tokens whose successor nobody may have learnt."""
        self.proofs: set[str] = set()
        self.counts: dict[str, int] = {}

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def sent(self, process: "Process", need: Fetch) -> None:
        """Look at a request before it leaves."""
        text = [need.url, need.body.decode()]
        for name, value in need.headers.items():
            shown = str.__str__(value)
            if shown.startswith("Basic "):
                shown = base64.b64decode(shown[6:]).decode()
            text.append(shown)
            if name == "dpop":
                self._proof(shown)
        words = "\n".join(text)
        origin = _origin(need.url)
        for secret, about in self.secrets.items():
            if secret in words and _origin(about.issuer) != origin:
                demand(
                    origin == _EVIL and about.poisoned,
                    "no secret is sent to another issuer",
                    secret,
                    need.url,
                )
        form = dict(parse_qsl(need.body.decode()))
        if "grant_type" in form:
            demand(process.holding, "who asks for a token holds the lock", process)
            process.allowed(form.get("scope"))

    def _proof(self, proof: str) -> None:
        claims = proof.split(".")[1]
        jti = json.loads(base64.urlsafe_b64decode(claims + "=="))["jti"]
        demand(jti not in self.proofs, "a proof is used once", jti)
        self.proofs.add(jti)


class Issuer:
    """An authorization server that rotates refresh tokens, and revokes all if one comes twice."""

    def __init__(self, name: str, books: Books, chance: Random, *, nonces: bool) -> None:
        self.name = name
        self.books = books
        self.chance = chance
        self.nonces = nonces
        self.iss = chance.random() < 0.7
        self.secretive = chance.random() < 0.5
        self.tag = name.removeprefix("https://")[0]
        self.made = 0
        self.calm = False
        self.clients: dict[str, str | None] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, tuple[int, frozenset[str], float]] = {}
        """Family, scopes and end of access tokens."""
        self.refreshing: dict[str, tuple[int, frozenset[str]]] = {}
        self.spent: dict[str, int] = {}
        self.dead: set[int] = set()
        """Families that were revoked."""
        self.nonce = 0

    def metadata(self, *, poisoned: bool) -> dict[str, Any]:
        evil = _EVIL if poisoned else self.name
        return {
            "issuer": self.name,
            "authorization_endpoint": f"{self.name}/authorize",
            "token_endpoint": f"{evil}/token",
            "registration_endpoint": f"{self.name}/register",
            "scopes_supported": ["read", "write", "offline_access"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": (
                ["client_secret_basic", "client_secret_post"] if self.secretive else ["none"]
            ),
            "authorization_response_iss_parameter_supported": self.iss,
        }

    def secret(self, kind: str, process: "Process") -> str:
        self.made += 1
        text = f"{kind}-{self.tag}-{self.made:04}-{process.number}"
        self.books.secrets[text] = Secret(self.name, process.poisoned)
        return text

    def register(self, process: "Process", wanted: dict[str, Any]) -> Fetched:
        id = self.secret("client", process)
        made: dict[str, Any] = {"client_id": id, "redirect_uris": wanted.get("redirect_uris")}
        if self.secretive:
            made["client_secret"] = self.secret("secret", process)
        self.clients[id] = made.get("client_secret")
        return _json(made, 201)

    def consent(self, process: "Process", asked: dict[str, str]) -> str:
        code = self.secret("code", process)
        self.codes[code] = asked
        params = {"code": code, "state": asked["state"]}
        if self.iss:
            params["iss"] = self.name
        return urlencode(params)

    def token(self, process: "Process", need: Fetch, wall: float) -> Fetched:
        form = dict(parse_qsl(need.body.decode()))
        headers = {name: str.__str__(value) for name, value in need.headers.items()}
        nonce = (("dpop-nonce", f"nonce-{self.nonce}"),) if self.nonces else ()
        if self.nonces:
            proof = headers["dpop"].split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(proof + "=="))
            if not self.calm and self.chance.random() < 0.1:
                self.nonce += 1
                nonce = (("dpop-nonce", f"nonce-{self.nonce}"),)
            if claims.get("nonce") != f"nonce-{self.nonce}":
                return _json({"error": "use_dpop_nonce"}, 400, nonce)
        id, secret = form.get("client_id"), form.get("client_secret")
        if "authorization" in headers:
            id, _, secret = base64.b64decode(headers["authorization"][6:]).decode().partition(":")
        if id not in self.clients or self.clients[id] != secret:
            return _json({"error": "invalid_client"}, 401, nonce)
        kind = form["grant_type"]
        if kind == "refresh_token":
            return self._refresh(process, form["refresh_token"], wall, nonce)
        scope = form.get("scope")
        if kind == "authorization_code":
            asked = self.codes.pop(form["code"], None)
            if asked is None or challenge_of(form["code_verifier"]) != asked["code_challenge"]:
                return _json({"error": "invalid_grant"}, 400, nonce)
            demand(
                (asked["client_id"], asked["redirect_uri"], asked["resource"])
                == (id, form["redirect_uri"], form["resource"]),
                "a code is redeemed as it was asked for",
            )
            scope = asked.get("scope")
        elif kind == "client_credentials":
            demand(secret is not None, "client credentials are those of a client")
        else:
            demand(form["assertion"] == f"assertion-{self.tag}", "an assertion is for its audience")
        self.made += 1
        family = self.made
        refresh = kind == "authorization_code"
        scopes = frozenset((scope or "").split())
        return self._give(process, family, scopes, wall, nonce, refresh=refresh)

    def _refresh(
        self, process: "Process", token: str, wall: float, nonce: tuple[tuple[str, str], ...]
    ) -> Fetched:
        if token in self.spent:
            demand(token in self.books.orphans, "a refresh token is used once", token, process)
            demand(token not in process.replaced, "a token that was replaced is used", token)
            self.books.count("reuse")
            self.dead.add(self.spent[token])
        known = self.refreshing.pop(token, None)
        if known is None or known[0] in self.dead:
            return _json({"error": "invalid_grant"}, 400, nonce)
        self.spent[token] = known[0]
        self.books.orphans.add(token)  # until its successor is stored
        self.books.count("refresh")
        return self._give(process, *known, wall, nonce, refresh=True, replaces=token)

    def _give(
        self,
        process: "Process",
        family: int,
        scopes: frozenset[str],
        wall: float,
        nonce: tuple[tuple[str, str], ...],
        *,
        refresh: bool,
        replaces: str | None = None,
    ) -> Fetched:
        access = self.secret("access", process)
        lasts = self.chance.choice((30, 120, 3600))
        self.tokens[access] = (family, scopes, wall + lasts)
        given: dict[str, Any] = {
            "access_token": access,
            "token_type": "DPoP" if process.settings.dpop else "Bearer",
            "expires_in": lasts,
            "scope": " ".join(sorted(scopes)) or None,
        }
        if refresh:
            given["refresh_token"] = self.secret("refresh", process)
            self.refreshing[given["refresh_token"]] = (family, scopes)
            if replaces is not None:
                process.successors[given["refresh_token"]] = replaces
        return _json({name: each for name, each in given.items() if each is not None}, 200, nonce)

    def takes(self, token: str, wall: float) -> frozenset[str] | None:
        """Scopes of a token that is valid, None for another one."""
        family, scopes, until = self.tokens.get(token, (0, frozenset(), 0.0))
        return scopes if wall < until and family not in self.dead else None


class Process:
    """A process with one machine: it sends requests, and carries out what the machine needs."""

    def __init__(self, play: "Play", number: int) -> None:
        self.play = play
        self.world = play.world
        self.number = number
        self.chance = play.world.chance(f"process {number}")
        self.settings = play.settings
        self.offset = 0.0
        self.boots = 0
        self.flows = 0
        self.holding = False
        self.poisoned = False
        self.successors: dict[str, str] = {}
        self.starts: dict[str, list[float]] = {}
        self.jumped = False
        self.boot()

    def __str__(self) -> str:
        return f"process {self.number}"

    @property
    def wall(self) -> float:
        return _EPOCH + self.world.time + self.offset

    def note(self, what: str) -> None:
        self.world.note(str(self), what)

    # Life

    def boot(self) -> None:
        self.up = True
        self.boots += 1
        self.turn = 0
        self.opened = self.fetches = 0
        seed = f"{self.world.seed} {self.number} {self.boots}".encode().ljust(32, b".")
        self.machine = Authorization(SERVER, self.settings, seed=seed)
        self.waiting: list[Refused] = []
        self.results: list[str] = []
        self.starts = {}
        self.replaced = set[str]()
        """Refresh tokens whose successor the machine has got, stored or not."""
        self.machine.load(wall=self.wall)
        self._began()

    def crash(self) -> None:
        if not self.up:
            return
        self.note("crashes")
        self.up = False
        self.play.lock.release(self)
        self.turn += 1
        self.boots += 1  # whatever is under way is for nobody
        self.world.after(self.chance.uniform(0.0, 60.0), self.boot)

    def cancel(self) -> None:
        machine = self.machine
        if not self.up or machine.need is None:
            return
        self.note(f"is cancelled at {machine.need!r}")
        self.turn += 1
        self.play.lock.forget(self)
        machine.cancel("it was cancelled", wall=self.wall)
        self._leave()
        self._ended()

    def _leave(self) -> None:
        """Release the lock, as the driver does."""
        while self.machine.need is not None:
            demand(isinstance(self.machine.need, Unlock), "what is left is to release the lock")
            self.play.lock.release(self)
            self.machine.give(Done(), wall=self.wall)

    # Requests

    def request(self, operation: str, needs: frozenset[str]) -> None:
        """Send a request; what is refused is authorized, and sent again."""
        if not self.up:
            return
        if self.turn == 0 and self.machine.need is None and self.machine.expiring(self.wall):
            self.machine.start(None, wall=self.wall)
            self._began()
        generation = self.machine.generation
        token = self.machine.token
        self.world.after(
            self.chance.uniform(0.0, 2.0),
            self._answered,
            (self.boots, operation, needs),
            generation,
            None if token is None else token[1].reveal(),
        )

    def _answered(
        self, request: tuple[int, str, frozenset[str]], generation: int, token: str | None
    ) -> None:
        boots, operation, needs = request
        if boots != self.boots:
            return
        status, line = self.play.serve(token, needs)
        self.note(f"{operation}: {status}")
        if status == 200:
            self.play.books.count("accepted")
            self.results.append(operation)
            self.starts.pop(operation, None)
            self.machine.accepted(operation)
            return
        refused = Refused(status=status, lines=(line,), generation=generation, operation=operation)
        self.refuse(refused, needs)

    def refuse(self, refused: Refused, needs: frozenset[str]) -> None:
        if self.machine.need is not None:  # the flow of another request, whose end is waited for
            self.waiting.append(refused)
            return
        try:
            began = self.machine.start(refused, wall=self.wall)
        except AuthorizationError as error:
            self.note(f"fails: {error}")
            self.play.books.count("given up")
            return
        if not began:
            self.request(refused.operation, needs)
            return
        self._bounded(refused.operation)
        self.again = (refused.operation, needs)
        self._began()

    def _bounded(self, operation: str) -> None:
        starts = self.starts.setdefault(operation, [])
        if starts and self.world.time - starts[-1] >= _PERIOD:
            starts.clear()
        starts.append(self.world.time)
        most = self.settings.max_flows
        demand(self.jumped or len(starts) <= most, "an operation causes few flows", self, operation)

    def allowed(self, scope: str | None) -> None:
        ceiling = self.settings.ceiling
        over = frozenset((scope or "").split()) - (ceiling or frozenset())
        demand(ceiling is None or not over, "nothing is asked for beyond the ceiling", scope)

    # Needs

    def _began(self) -> None:
        self.flows += 1
        self.fetches = self.opened = 0
        self.poisoned = False
        self._next()

    def _next(self) -> None:
        need = self.machine.need
        if need is None:
            self._ended()
            return
        self.turn += 1
        demand(self.machine.state not in _RESTING[1:] or isinstance(need, Unlock), "a flow goes on")
        self.play.carry_out(self, self.turn, self.boots, need)

    def give(self, turn: int, boots: int, outcome: Outcome) -> None:
        """Take an outcome, if it is waited for still."""
        if (turn, boots) != (self.turn, self.boots):
            return
        self.note(repr(outcome))
        if isinstance(outcome, Fetched):
            self.replaced |= {
                spent for token, spent in self.successors.items() if token.encode() in outcome.body
            }
        self.machine.give(outcome, wall=self.wall)
        self._next()

    def _ended(self) -> None:
        machine = self.machine
        self.turn = 0
        self.note(f"ends: {machine.state.value}")
        self.play.books.count(machine.state.value)
        demand(machine.need is None, "a flow ends once")
        demand(machine.state in _RESTING, "a flow ends in a state of rest", machine.state)
        demand(not self.holding, "a flow leaves no lock", self)
        demand(
            (machine.error is None) == (machine.state is not AuthState.FAILED),
            "an end has one name",
        )
        if machine.error is not None:
            words = f"{machine.error} {machine!r} {machine.notes}"
            for secret in self.play.books.secrets:
                demand(secret not in words, "no error holds a secret", words)
        machine.notes.clear()
        again, self.again = self.again, None
        if again is not None and machine.state is AuthState.READY:
            if not self.fetches and (starts := self.starts.get(again[0])):
                starts.pop()  # another process had a token
            self.request(*again)
        elif again is not None and isinstance(machine.error, Unreachable) and not self.opened:
            self.starts[again[0]].pop()  # an outage costs nobody anything
        waiting, self.waiting = self.waiting, []
        for refused in waiting:
            # As the driver has it: nobody is asked again who has just said no to another refusal.
            if None in (machine.error, again) or refused.generation < machine.generation:
                self.refuse(refused, frozenset())

    again: tuple[str, frozenset[str]] | None = None


class SharedLock:
    """The lock of the store: one holder at a time, in any order."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.holder: Process | None = None
        self.chance = world.chance("lock")
        self.queue: list[tuple[Process, Callable[[], None]]] = []

    def take(self, process: Process, granted: Callable[[], None]) -> None:
        self.queue.append((process, granted))
        self._grant()

    def forget(self, process: Process) -> None:
        self.queue = [each for each in self.queue if each[0] is not process]

    def release(self, process: Process) -> None:
        self.forget(process)
        if self.holder is process:
            self.holder = None
            process.holding = False
            self._grant()

    def _grant(self) -> None:
        if self.holder is None and self.queue:
            process, granted = self.queue.pop(self.chance.randrange(len(self.queue)))
            self.holder, process.holding = process, True
            self.world.after(0.0, granted)


class Play:
    """One run: a server, its issuers, a person, a store, some processes."""

    def __init__(self, seed: int, *, timeline: bool = False) -> None:
        self.world = world = World(seed, timeline=timeline)
        self.books = Books()
        self.lock = SharedLock(world)
        self.store: dict[str, Stored] = {}
        self.chance = chance = world.chance("play")
        self.rates = dict.fromkeys(KINDS, 0.0)
        for kind in chance.sample(KINDS, chance.choice((0, 1, 2, 4, 7))):
            self.rates[kind] = chance.choice((0.03, 0.1, 0.3))
        self.grant = chance.choice(("code", "code", "code", "given", "credentials", "assertion"))
        if self.grant != "code":  # such credentials are bound to where they were used first
            self.rates["migration"] = self.rates["poisoned"] = 0.0
        dpop = chance.random() < 0.25
        nonces = dpop and chance.random() < 0.6
        self.issuers = {
            name: Issuer(name, self.books, world.chance(name), nonces=nonces) for name in ISSUERS
        }
        self.current = ISSUERS[0]
        self.bad: dict[str, float] = {}
        """Ends of what goes wrong for a time."""
        self.calm = False
        self.named = chance.random() < 0.5
        self.settings = self._settings(dpop, chance)
        self.processes = [Process(self, number) for number in range(chance.choice((1, 1, 2, 3, 5)))]

    def _settings(self, dpop: bool, chance: Random) -> AuthorizationSettings:
        client = None
        grants: dict[str, AnyGrant] = {
            "credentials": ClientCredentialsGrant(),
            "assertion": AssertionGrant(),
        }
        if self.grant != "code":
            client = ClientIdentity(client_id="given-client", client_secret="given-secret")
            first = self.issuers[ISSUERS[0]]
            first.secretive = True
            first.clients["given-client"] = "given-secret"
            self.books.secrets["given-secret"] = Secret(ISSUERS[0])
        jwk = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}
        key = DpopKey(jwk=jwk, signing=SigningKey(algorithm="ES256", key="dpop"))
        return AuthorizationSettings(
            grant=grants.get(self.grant, CodeGrant()),
            client=client,
            dpop=key if dpop else None,
            ceiling=chance.choice(
                (None, None, frozenset({"read", "write"}), frozenset({"read", "offline_access"}))
            ),
        )

    def wrong(self, kind: str) -> bool:
        """Draw if something goes wrong now."""
        return not self.calm and self.chance.random() < self.rates[kind]

    def lasting(self, kind: str) -> bool:
        """Say if something goes wrong for a time."""
        return not self.calm and self.world.time < self.bad.get(kind, 0.0)

    # The run

    def run(self) -> None:
        world = self.world
        for process in self.processes:
            for _ in range(self.chance.randrange(4, 14)):
                world.at(self.chance.random() * _SPAN, self._send, process)
        for _ in range(12):
            world.at(self.chance.random() * _SPAN, self._trouble)
        self._until(_SPAN + 2 * _LOCK_TIME)
        self._coda()

    def _until(self, time: float) -> None:
        while self.world.step(time):
            demand(self.world.steps < 20_000, "everything comes to rest")

    def _send(self, process: Process) -> None:
        operation = self.chance.choice(("tools/list", "tools/call a", "tools/call b"))
        needs = frozenset({"write"} if operation.endswith("b") else {"read"})
        process.request(operation, needs)

    def _trouble(self) -> None:
        """Let something go wrong that is no matter of one need."""
        process = self.chance.choice(self.processes)
        for kind in ("cancelled", "crash", "jump", "revoked", "migration"):
            if self.calm or self.chance.random() >= 3 * self.rates[kind]:
                continue
            if kind == "cancelled":
                process.cancel()
            elif kind == "crash":
                process.crash()
            elif kind == "jump":
                process.offset = self.chance.choice((-_DAY, -600.0, 600.0, _DAY))
                process.jumped = True
            elif kind == "revoked":
                issuer = self.issuers[self.current]
                issuer.dead |= {family for family, _, _ in issuer.tokens.values()}
            else:
                self.current = self.chance.choice(ISSUERS)
        for kind in ("401 for ever", "403 for ever", "poisoned"):
            if self.chance.random() < 3 * self.rates[kind]:
                self.bad[kind] = self.world.time + self.chance.choice((20.0, 500.0))

    def _coda(self) -> None:
        """Once nothing goes wrong any more, every process gets its request through."""
        self.calm = True
        for issuer in self.issuers.values():
            issuer.calm = True
        needs = frozenset({"read"})
        for process in self.processes:
            process.offset = 0.0
        self._until(self.world.time + 2 * _PERIOD)
        for process in self.processes:
            process.results.clear()
            process.request("coda", needs)
        self._until(self.world.time + len(self.processes) * _LOCK_TIME)
        for process in self.processes:
            demand("coda" in process.results, "in the end a request goes through", process)
        demand(self.lock.holder is None, "nobody holds the lock in the end")
        demand(self.world.idle, "all fall idle")

    # The protected server

    def serve(self, token: str | None, needs: frozenset[str]) -> tuple[int, str]:
        place = '"https://mcp.example/.well-known/oauth-protected-resource/mcp"'
        named = f", resource_metadata={place}" if self.named else ""
        scopes = None
        if token is not None:
            scopes = self.issuers[self.current].takes(token, _EPOCH + self.world.time)
        if scopes is None or self.lasting("401 for ever"):
            return 401, f'Bearer scope="{" ".join(sorted(needs))}"{named}'
        if not needs <= scopes or self.lasting("403 for ever"):
            wanted = " ".join(sorted(needs))
            return 403, f'Bearer error="insufficient_scope", scope="{wanted}"{named}'
        return 200, ""

    # Needs

    def carry_out(self, process: Process, turn: int, boots: int, need: Need) -> None:
        process.note(repr(need))

        def later(outcome: Outcome, delay: float | None = None) -> None:
            wait = self.chance.expovariate(20.0) if delay is None else delay
            self.world.after(wait, process.give, turn, boots, outcome)

        match need:
            case Fetch():
                self._fetch(process, need, later)
            case OpenUrl():
                self._ask(process, need, later)
            case Lock():
                demand(not process.holding, "a lock is taken once", process)
                granted = lambda: process.give(turn, boots, Done())  # noqa: E731
                self.lock.take(process, granted)
            case Unlock():
                demand(process.holding, "who releases a lock holds it", process)
                self.lock.release(process)
                later(Done(), 0.0)
            case Load():
                failed = self.wrong("store")
                later(
                    NeedFailed("the disk is gone") if failed else self.store.get(need.key, Stored())
                )
            case Save():
                self._save(process, need, later)
            case Listen():
                later(Text("http://127.0.0.1:41000/callback"))
            case Sign():
                later(NeedFailed("no key") if self.wrong("store") else Signed(b"signature"))
            case Obtain():
                tag = "a" if need.audience == ISSUERS[0] else "b"
                later(Text(f"assertion-{tag}"))

    def _save(self, process: Process, need: Save, later: Callable[[Outcome], None]) -> None:
        if need.key == process.machine.key:
            demand(process.holding, "who stores a token holds the lock", process)
        if self.wrong("store"):
            later(NeedFailed("the disk is full"))
            return
        known = self.store.get(need.key, Stored())
        if known.version == need.version:
            known = self.store[need.key] = Stored(need.record, need.version + 1)
            for token, spent in process.successors.items():
                if need.record is not None and token.encode() in need.record:
                    self.books.orphans.discard(spent)
        later(known)

    def _fetch(
        self, process: Process, need: Fetch, later: Callable[[Outcome, float | None], None]
    ) -> None:
        self.books.sent(process, need)
        process.fetches += 1
        demand(process.fetches <= _FETCHES, "a flow makes few requests", process, need.url)
        slow = self.wrong("slow")
        there = self.chance.expovariate(5.0) * (20.0 if slow else 1.0)
        back = self.chance.expovariate(5.0) * (20.0 if slow else 1.0)
        if self.wrong("lost request"):
            later(NeedFailed("the connection was closed without a whole response"), there)
            return
        if self.wrong("garbage") and need.method == "GET":
            later(self.chance.choice(_GARBAGE), there + back)
            return

        def arrive() -> None:
            answer = self._answer(process, need)
            if self.wrong("lost response"):
                answer = NeedFailed("the connection was closed without a whole response")
            elif there + back > need.timeout:
                answer = NeedFailed("the request took too long")
            later(answer, min(back, max(0.0, need.timeout - there)))

        self.world.after(there, arrive)

    def _answer(self, process: Process, need: Fetch) -> Outcome:
        url = urlsplit(need.url)
        if url.path == "/.well-known/oauth-protected-resource/mcp":
            document = {"resource": SERVER, "authorization_servers": [self.current]}
            return _json({**document, "scopes_supported": ["read"]}, 200)
        if url.path == "/.well-known/oauth-protected-resource":
            return _json({}, 404)
        if _origin(need.url) == _EVIL:
            return _json({"error": "invalid_grant"}, 400)
        issuer = next(
            each for each in self.issuers.values() if need.url.startswith(_origin(each.name))
        )
        if "/.well-known/" in url.path:
            if "openid" in url.path:
                return _json({}, 404)
            if self.lasting("poisoned"):
                process.poisoned = True
            return _json(issuer.metadata(poisoned=process.poisoned), 200)
        if url.path.endswith("/register"):
            return issuer.register(process, json.loads(need.body))
        return issuer.token(process, need, _EPOCH + self.world.time)

    def _ask(
        self, process: Process, need: OpenUrl, later: Callable[[Outcome, float | None], None]
    ) -> None:
        process.opened += 1
        demand(process.opened == 1, "a person is asked once in a flow", process)
        self.books.count("asked")
        asked = dict(parse_qsl(urlsplit(need.url).query))
        process.allowed(asked.get("scope"))
        issuer = next(each for each in self.issuers.values() if need.url.startswith(each.name))
        delay = self.chance.uniform(1.0, 60.0)
        if self.wrong("denied"):
            later(Callback(urlencode({"error": "access_denied", "state": need.state})), delay)
            return
        if self.wrong("mixed up"):
            query = self._mixed_up(process, issuer, asked)
            later(Callback(query), delay)
            return
        if self.wrong("slow"):
            later(NeedFailed("nobody signed in"), need.timeout)
            return
        later(Callback(issuer.consent(process, asked)), delay)

    def _mixed_up(self, process: Process, issuer: Issuer, asked: dict[str, str]) -> str:
        """A callback of another flow, or of another issuer; both are told by state or iss."""
        other = next(each for each in self.issuers.values() if each is not issuer)
        if self.chance.random() < 0.5:
            return other.consent(process, asked | {"state": "of another flow"})
        code = other.secret("code", process)
        return urlencode({"code": code, "state": asked["state"], "iss": other.name})


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _json(document: Any, status: int, headers: tuple[tuple[str, str], ...] = ()) -> Fetched:
    return Fetched(status=status, headers=headers, body=json.dumps(document).encode())


_GARBAGE: tuple[Outcome, ...] = (
    Fetched(status=200, body=b"<html>"),
    Fetched(status=500, body=b""),
    Fetched(status=302, headers=(("location", _EVIL),)),
    Fetched(status=200, body=b'{"resource": 1, "issuer": ["x"]}'),
    Fetched(
        status=200, body=b'{"resource": "https://other.example", "issuer": "https://x.example"}'
    ),
    Fetched(status=200, body=b"[" * 100),
)


def play(seed: int, *, timeline: bool = False) -> seeds.Outcome:
    """Play a seed to its end, or until a rule is broken."""
    breach = None
    run = Play(seed, timeline=timeline)
    try:
        run.run()
    except BreachError as broken:
        breach = str(broken)
    except Exception as error:  # whatever a machine raises is a fault of it
        breach = f"{type(error).__name__}: {error}"
        if timeline:
            raise
    return seeds.Outcome(breach, run.books.counts, run.world.digest, run.world.timeline)


if __name__ == "__main__":
    raise SystemExit(
        seeds.command(
            "tests.simulation.authorization",
            __doc__,
            lambda seed, timeline: play(seed, timeline=timeline),
        )
    )
