"""One run through all of both sides, whose secrets are known: nothing that is shown has one."""

import base64
import gc
import json
import logging
import os
import subprocess
import time
import traceback
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from urllib.request import ProxyHandler, build_opener

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mcpcore import (
    AnyOf,
    ApiKey,
    ApiKeyScheme,
    AuthorizationError,
    AuthorizationSettings,
    BearerToken,
    Client,
    ClientCredentialsGrant,
    ClientIdentity,
    ClientSettings,
    Context,
    DpopKey,
    FileTokens,
    HttpServerSettings,
    Issuer,
    LinkError,
    NegotiationError,
    PrivateKey,
    ResourceServer,
    RuntimeSettings,
    Server,
    ServeSettings,
    SigningKey,
    connect,
    observe_answers,
    observe_requests,
)
from mcpcore.auth.api_keys import digest_of, make_key
from mcpcore.auth.grants import ClientAuth
from mcpcore.auth.resource_server import Dpop
from mcpcore.auth.upstream import Upstream
from mcpcore_conformance.auth.model import CLIENT_CREDENTIALS
from mcpcore_conformance.auth.model import Client as Registered
from mcpcore_transports.auth.browser import BrowserSignIn
from mcpcore_transports.auth.exchange import UpstreamTokens
from mcpcore_transports.telemetry.prometheus import PrometheusMeters
from mcpcore_transports.tracing.tracing import Trace
from tests.clock import PATIENCE, patience
from tests.command import mcpcore_here
from tests.ports import free_port
from tests.transports.auth.auth_desk import Desk, issuer
from tests.transports.auth.test_auth_commands import answered, asked, command, state, visit
from tests.transports.auth.test_auth_commands import issuer as running_issuer
from tests.transports.served import served
from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

__all__ = ["state"]  # a fixture

MARK = "s3cr3t-marked"
MACHINE = Registered(
    client_id="machine",
    method=ClientAuth.BASIC,
    secret=f"{MARK}-of-the-machine",
    grants=frozenset({CLIENT_CREDENTIALS}),
)
IN_FORMS = ("code", "code_verifier", "refresh_token", "client_assertion", "client_secret", "token")
IN_ANSWERS = ("access_token", "refresh_token", "client_secret")


PLACES = {
    *("audit", "settings", "context", "client", "upstream", "trace server", "trace client"),
    *("page of the callback", "printed", "standard output", "error 0"),
    *("metrics", "spans", "environment of a child"),
}


class Told:
    """Secrets of a run, and all that it shows."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        self._caplog = caplog
        self.secrets = {MARK}
        self.texts: dict[str, str] = {}

    def show(self, place: str, text: str) -> None:
        self.texts[place] = self.texts.get(place, "") + text + "\n"

    def failed(self, place: str, error: BaseException) -> None:
        """Keep an error with its causes, notes and attributes."""
        self.show(place, "".join(traceback.format_exception(error)))
        seen: BaseException | None = error
        while seen is not None:
            self.show(place, f"{seen!r} {seen.args!r} {vars(seen)!r}")
            for frame, _ in traceback.walk_tb(seen.__traceback__):
                if frame.f_globals["__name__"].startswith("mcpcore"):
                    self.show(place, f"locals of {frame.f_code.co_name}: {frame.f_locals!r}")
            seen = seen.__cause__ or seen.__context__

    def dump(self) -> None:
        """Keep what all objects of these packages show of themselves."""
        ours = [x for x in gc.get_objects() if str(type(x).__module__).startswith("mcpcore")]
        assert len(ours) > 100
        for each in ours:
            if isinstance(each, PrivateKey) and not hasattr(each, "kid"):
                continue  # its making has failed, in another test
            self.show(f"object {type(each).__module__}.{type(each).__name__}", f"{each!r} {each}")

    def read_traces(self, folder: Path) -> None:
        for file in folder.glob("*.jsonl"):
            self.show(f"trace {file.stem.partition('-')[0]}", file.read_text())

    def learn(self, desk: Desk, answers: Iterable[bytes]) -> None:
        """Learn what the authorization server was sent, and gave away."""
        for request in desk.requests:
            form = dict(parse_qsl(request.body.decode()))
            self.secrets |= {form[name] for name in IN_FORMS if name in form}
            for name, value in request.headers:
                if name == "dpop":
                    self.secrets.add(value)
        for body in answers:
            given = json.loads(body) if body.startswith(b"{") else {}
            self.secrets |= {given[name] for name in IN_ANSWERS if name in given}

    def found(self) -> dict[str, list[str]]:
        """Places that show a secret, and what they show."""
        for record in self._caplog.records:
            if "mcpcore" in record.name:
                self.show("log", f"{record.getMessage()} {vars(record)}")
        self.show("log", self._caplog.text)
        wanted = {form for secret in self.secrets for form in _forms(secret)}
        return {
            place: sorted(secret for secret in wanted if secret in text)
            for place, text in self.texts.items()
            if any(secret in text for secret in wanted)
        }


def _forms(secret: str) -> set[str]:
    """A secret as it is, as Basic may hold it, and the signature of a token alone."""
    basic = base64.b64encode(f"machine:{secret}".encode()).decode()
    return {secret, basic, secret.rpartition(".")[2]}


class Browser:
    """Someone who consents; keeps the pages that the callback shows."""

    def __init__(self) -> None:
        self.pages: list[bytes] = []
        self.states: set[str] = set()

    def open(self, url: str) -> bool:
        self.states.add(dict(parse_qsl(urlsplit(url).query))["state"])
        with build_opener(ProxyHandler({})).open(url, timeout=60) as page:
            self.pages.append(page.read())
        return True


class Both:
    """A protected server at its authorization server, and what a client of it needs."""

    def __init__(self, desk: Desk, url: str, folder: Path, told: Told) -> None:
        self.desk, self.url, self.folder, self.told = desk, url, folder, told
        self.browser = Browser()
        self.printed: list[str] = []
        self.answers: list[bytes] = []
        self.traces = 0
        self.meters, self._spans = PrometheusMeters(), InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.urls = [url]
        """URLs of the same server over HTTP, WebSocket and HTTP+SSE."""
        handle = desk.issuer.handle

        def kept(request: Any) -> Any:
            answer = handle(request)
            self.answers.append(answer.body)
            place = dict(answer.headers).get("location", "")
            told.secrets |= {v for k, v in parse_qsl(urlsplit(place).query) if k == "code"}
            return answer

        desk.issuer.handle = kept  # type: ignore[method-assign]

    @property
    def observed(self) -> dict[str, Any]:
        """Options of telemetry."""
        return {"tracers": self.tracers, "meters": self.meters, "contents": True}

    def show_telemetry(self) -> None:
        self.told.show("metrics", self.meters.page().body.decode())
        for span in self._spans.get_finished_spans():
            self.told.show("spans", span.to_json())

    @asynccontextmanager
    async def client(
        self, auth: Any = None, url: str | None = None, **more: Any
    ) -> AsyncIterator[Client]:
        settings = ClientSettings(
            sign_in=BrowserSignIn(self.browser.open, self.printed.append),
            tokens=FileTokens(self.folder / "tokens"),
            **more.pop("settings", {}),
        )
        self.traces += 1
        trace = self.folder / f"client-{self.traces}.jsonl"
        if auth is not None:
            more["auth"] = auth
        more["middleware"] = [observe_requests(**self.observed)]
        with patience():
            async with connect(url or self.url, settings=settings, trace=trace, **more) as client:
                yield client
                self.told.show("client", f"{client!r} {vars(client)!r}")
                if self.traces == 1:
                    self.told.dump()
        self.told.show("settings", repr((auth, settings, more.get("settings"))))


@asynccontextmanager
async def both(told: Told, folder: Path) -> AsyncIterator[Both]:
    url = f"http://127.0.0.1:{free_port()}/mcp"
    id, key = make_key(b"\x07" * 40)
    told.secrets |= {key, key.rpartition("_")[2]}
    server = Server("notes")
    upstream: list[UpstreamTokens] = []

    @server.tool(scopes={"write"})
    async def write(context: Context) -> str:
        token = await upstream[0].token()
        told.secrets.add(token.reveal())
        told.show("upstream", f"{upstream[0]!r} {token!r} {token}")
        told.show("context", repr([getattr(context, x) for x in dir(context) if x[0] != "_"]))
        child = await anyio.run_process(["env"])
        told.show("environment of a child", child.stdout.decode())
        return "written"

    @server.tool
    async def crash(context: Context) -> str:
        raise RuntimeError(f"of {context!r} for {context.principal!r}")

    async with issuer((MACHINE,), nonces=True, scopes=("read", "write")) as desk:
        upstream.append(
            UpstreamTokens(
                Upstream(
                    resource=url,
                    issuer=desk.url,
                    client=ClientIdentity(client_id="machine", client_secret=MACHINE.secret),
                )
            )
        )
        guard = ResourceServer(
            url,
            [Issuer(issuer=desk.url)],
            required={"read"},
            dpop=Dpop.ALLOWED,
            nonces=True,
            audit=desk.events.append,
        )
        record = ApiKey(id=id, digest=digest_of(key), principal="robot", scopes=("read", "write"))
        schemes = AnyOf(ApiKeyScheme([record], audit=desk.events.append), guard)
        at = Both(desk, url, folder, told)
        settings = ServeSettings(
            runtime=RuntimeSettings(middleware=(observe_answers(**at.observed),)),
            http_link=HttpServerSettings(authenticate=schemes),
            trace=(trace := Trace(folder / "server.jsonl")),
        )
        told.show("settings", repr((settings, guard, schemes, record, upstream)))
        places: dict[str, Any] = dict.fromkeys(("ws", "sse"), "127.0.0.1:0")
        places["http"] = url.split("/")[2]
        async with served(server, settings=settings, **places) as running:
            at.urls = running.urls
            yield at
        trace.close()
        at.show_telemetry()
        told.learn(desk, at.answers)
        told.show("audit", repr(desk.events))
        told.show("page of the callback", repr(at.browser.pages))
        told.read_traces(folder)
        told.dump()
        assert len(at.browser.states) >= 2
        told.secrets |= at.browser.states
        # A person is shown the URL with its state, and nothing else that is secret.
        printed = [line.partition("&state=")[0] for line in at.printed]
        told.show("printed", "".join(printed))


def private_key() -> tuple[PrivateKey, str]:
    """A key, and what is secret of it as a text."""
    made = ec.generate_private_key(ec.SECP256R1())
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return PrivateKey.from_pem(pem), pem.decode()


async def run(at: Both) -> None:
    """Let each secret do what it is for, and let some of it go wrong."""
    told, (key, pem) = at.told, private_key()
    told.secrets |= set(pem.splitlines()[1:-1])
    dpop = DpopKey(jwk=key.jwk, signing=SigningKey(algorithm="ES256", key="dpop"))
    person = AuthorizationSettings(dpop=dpop)
    async with at.client(person, settings={"signing_keys": {"dpop": key}}) as client:
        told.show("list", repr(await client.list_tools()))
        result = await client.call_tool("write")  # steps up, with the scope of the challenge
        assert "written" in str(result.content), result
        told.show("crash", repr(await client.call_tool("crash")))
    async with at.client(AuthorizationSettings(account="b", scopes=frozenset({"write"}))) as client:
        await client.call_tool("write")
    identity = ClientIdentity(client_id="machine", client_secret=MACHINE.secret)
    machine = AuthorizationSettings(grant=ClientCredentialsGrant(), client=identity, account="c")
    async with at.client(machine) as client:
        told.show("list", repr(await client.list_tools()))
    (api_key,) = [x for x in told.secrets if x.startswith("mck_")]
    async with at.client(headers={"Authorization": f"Bearer {api_key}"}) as client:
        await client.call_tool("write")
    wrong = ClientIdentity(client_id="machine", client_secret=f"{MARK}-wrong")
    failing: list[tuple[Any, dict[str, Any]]] = [
        (BearerToken(f"{MARK}-token"), {}),
        (BearerToken(f"mck_000000000000_{MARK}-{MARK}"), {}),
        (lambda: f"{MARK}\r\nx", {}),
        (None, {"headers": lambda request: {"Authorization": f"Bearer {MARK}\r\nx"}}),
        (AuthorizationSettings(grant=ClientCredentialsGrant(), client=wrong, account="d"), {}),
        (None, {"headers": {"Authorization": f"Bearer {MARK}.{MARK}.{MARK}"}}),
        (BearerToken(at.desk.token(exp=1)), {}),
    ]
    shut = f"ws://127.0.0.1:{free_port()}/mcp"
    cases = [*product(failing, at.urls), (failing[0], shut), (failing[5], shut)]
    for number, ((auth, more), url) in enumerate(cases):
        with pytest.raises((NegotiationError, AuthorizationError, LinkError)) as caught:
            async with at.client(auth, url, **more):
                """Nobody is let in."""
        caught.value.add_note("of the test")
        told.failed(f"error {number}", caught.value)


@pytest.mark.anyio
async def test_nothing_that_is_shown_has_a_secret(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = Told(caplog)
    async with both(told, tmp_path) as at:
        await run(at)
    shown = capfd.readouterr()
    told.show("standard output", shown.out + shown.err)
    assert len(told.secrets) > 15
    assert told.texts.keys() >= PLACES
    assert told.found() == {}
    assert "dpop" in told.texts["trace client"].lower()


@pytest.mark.anyio
@pytest.mark.parametrize("place", ["log", "error", "object", "trace"])
async def test_it_would_be_seen(
    place: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    told = Told(caplog)
    secret = f"{MARK}-{time.monotonic_ns()}"
    if place == "log":
        logging.getLogger("mcpcore.auth").debug("a token: %s", secret)
    elif place == "error":
        error = ValueError("no")
        error.__cause__ = KeyError(secret)
        told.failed("error", error)
    elif place == "object":
        told.show("object", repr({"settings": secret}))
    else:
        (tmp_path / "trace.jsonl").write_text(json.dumps({"line": secret}))
        told.show("trace", (tmp_path / "trace.jsonl").read_text())
    assert list(told.found().values()) == [[MARK]]


MAIN = [*PYTHON, "-m", "mcpcore_transports.commands.main"]


@contextmanager
def serving(*words: str, env: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A server as a process that logs all it does; ready once it listens."""
    with (
        log.open("wb") as file,
        subprocess.Popen([*MAIN, "serve", *words], stderr=file, env=env) as process,
    ):
        try:
            begun = time.monotonic()
            while b"listening on" not in log.read_bytes():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < begun + PATIENCE
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()


def words_of(process: "subprocess.Popen[Any]") -> str:
    """The command line of a process as others see it."""
    place = Path(f"/proc/{process.pid}/cmdline")
    return place.read_text() if place.exists() else ""


def test_no_command_shows_a_secret(
    state: FileTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Login, calls, status and logout at a protected server, all of them as talkative as can be."""
    port, made = free_port(), mcpcore_here("auth", "key", "robot", "--scope", "read")
    url, keys = f"http://127.0.0.1:{port}/mcp", tmp_path / "keys.jsonl"
    keys.write_text(made.stdout)
    key = made.stderr.split()[-1]
    monkeypatch.setenv("MACHINE", MACHINE.secret or "")
    told = [made.stdout]  # the key itself is shown once, on standard error
    env = {**os.environ, "MCPCORE_AUTH_SCOPES": "read"}
    with running_issuer("--client", f"machine:{MACHINE.secret}", "--scope", "read") as issuer_url:
        words = ["--auth-issuer", issuer_url, "--auth-resource", url, "--auth-keys", str(keys)]
        server = [
            "tests.transports.auth.auth_desk:SERVER",
            "--http",
            f"127.0.0.1:{port}",
            "--verbose",
        ]
        trace, log = tmp_path / "server.jsonl", tmp_path / "log"
        with serving(*server, *words, "--trace", str(trace), env=env, log=log) as process:
            told.append(words_of(process))
            login = command("login", url, "--no-browser", "--verbose")
            end = visit(asked(login))
            code, out, err = answered(login, f"{end}\n")
            assert code == 0, err
            told += [out, err]
            machine = ["--client-id", "machine", "--client-secret-env", "MACHINE"]
            machine += ["--issuer", issuer_url]
            for each in (
                ["call", "who", url, "--verbose", "--trace", str(tmp_path / "client.jsonl")],
                ["call", "erase", url, "--verbose"],
                ["call", "who", url, "--header", f"Authorization: Bearer {key}x", "--verbose"],
                ["auth", "status", "--json"],
                ["auth", "status", url],
                ["auth", "login", url, *machine, "--client-credentials", "--account", "m", "-v"],
            ):
                done = mcpcore_here(*each)
                told += [done.stdout, done.stderr]
            kept = [json.loads(path.read_bytes())["record"] for path in state.folder.glob("*.json")]
            done = mcpcore_here("auth", "logout", url, "--verbose")
            told += [done.stdout, done.stderr]
        told += [log.read_text(), trace.read_text(), (tmp_path / "client.jsonl").read_text()]
    names = ("access_token", "refresh_token", "client_secret")
    secrets = {record[name] for record in kept for name in names if name in record}
    secrets |= {key, key.rpartition("_")[2], str(MACHINE.secret)}
    secrets.add(end.partition("code=")[2].partition("&")[0])
    assert len(secrets) >= 6
    assert sum("server/discover" in text for text in told) >= 2
    for text in told:
        assert not [secret for secret in secrets if secret in text], text
