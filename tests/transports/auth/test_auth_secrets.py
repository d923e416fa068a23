"""Marked secrets through all of the client's side: no log, error, process or trace has one."""

import json
import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from anyio.abc import ByteStream

from mcpcore.auth.authorization import Refused
from mcpcore.auth.grants import ClientIdentity, SigningKey
from mcpcore.auth.needs import Need, Outcome
from mcpcore.auth.settings import AuthorizationSettings, DpopKey
from mcpcore.errors import AuthorizationError
from mcpcore_transports.auth.authorizer import Authorizer
from mcpcore_transports.auth.browser import BrowserSignIn
from mcpcore_transports.auth.file_store import FileTokens
from mcpcore_transports.auth.keyring_store import KeyringTokens
from mcpcore_transports.auth.signing import PrivateKey
from mcpcore_transports.auth.stores import TokenStore
from tests.clock import patience
from tests.transports.auth.auth_site import Asked, Authority, Person, authority
from tests.transports.auth.test_auth_commands import Place, answered, asked, command, place, state
from tests.transports.auth.test_auth_stores import ring, store
from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

__all__ = ["place", "ring", "state", "store"]  # fixtures

MARK = "s3cr3t-marked"
UNAUTHORIZED = Refused(status=401, lines=("Bearer",))
FORBIDDEN = Refused(
    status=403,
    lines=('Bearer error="insufficient_scope", scope="write"',),
    operation="tools/call x",
)
KEYS = ("code", "code_verifier", "client_assertion", "assertion", "refresh_token", "subject_token")


class Told:
    """All that is told of a run: logs of any level, errors with tracebacks, representations."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        self.caplog = caplog
        self.texts: list[str] = []
        self.secrets = {MARK}

    def show(self, *things: Any) -> None:
        self.texts += [f"{each!r} {each!s} {each}" for each in things]

    def failed(self, error: BaseException) -> None:
        self.texts.append("".join(traceback.format_exception(error)))

    def check(self) -> None:
        records = [f"{each.getMessage()} {vars(each)}" for each in self.caplog.records]
        for text in [*self.texts, *records, self.caplog.text]:
            assert not [secret for secret in self.secrets if secret in text], text


def marked(stage: Authority, told: Told) -> None:
    """Let all that the world gives away carry the mark, and know what the client makes itself."""
    world = stage.world
    world.registration = {"client_secret": f"{MARK}-client"}
    world.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    world.token = {"access_token": f"{MARK}-access", "refresh_token": f"{MARK}-refresh"}


def learn(stage: Authority, told: Told) -> None:
    """Learn the verifiers and proofs that were sent."""
    for form in stage.world.forms():
        told.secrets |= {form[name] for name in KEYS if name in form}
    for each in stage.site.asked:
        proof = each.header("dpop")
        if proof is not None:
            told.secrets.add(proof)


@pytest.mark.anyio
@pytest.mark.parametrize("own", [False, True], ids=["registered", "given"])
async def test_a_sign_in_a_refresh_and_a_step_up_tell_no_secret(
    store: TokenStore,
    own: bool,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    told = Told(caplog)
    client = ClientIdentity(client_id="mine", client_secret=f"{MARK}-client") if own else None
    printed: list[str] = []
    async with authority() as stage:
        marked(stage, told)
        server = f"{stage.server}?key={MARK}-query"
        place = f"{stage.site.url}/.well-known/oauth-protected-resource/mcp?key={MARK}-query"
        stage.world.pages[place] = stage.world.resource
        person = Person(stage.world)
        key = PrivateKey.generate()
        dpop = DpopKey(jwk=key.jwk, signing=SigningKey(algorithm="ES256", key="dpop"))
        for settings in (
            AuthorizationSettings(client=client),
            AuthorizationSettings(client=client, dpop=dpop, account="bound"),
        ):
            stage.world.token["token_type"] = "Bearer" if settings.dpop is None else "DPoP"
            one = Authorizer(
                server,
                settings,
                store=store,
                sign_in=BrowserSignIn(person.open, printed.append),
                keys={"dpop": key},
            )
            carry_out = one._carrier.carry_out

            async def shown(need: Need, carry_out: Any = carry_out) -> Outcome:
                told.show(need)
                outcome: Outcome = await carry_out(need)
                told.show(outcome)
                return outcome

            one._carrier.carry_out = shown  # type: ignore[method-assign]
            with patience():
                token = await one.refused(UNAUTHORIZED)
                again = Refused(status=401, lines=("Bearer",), generation=token.generation)
                stage.world.refreshable = {f"{MARK}-refresh"}
                token = await one.refused(again)
                sent = await one.headers("POST", server)
                wider = Refused(
                    status=403,
                    lines=FORBIDDEN.lines,
                    generation=token.generation,
                    operation="tools/call x",
                )
                await one.refused(wider)
            assert MARK in sent.headers["authorization"]
            told.show(sent)
            told.show(one, one.machine, one.machine.token, token, store, one._carrier, settings)
            inside = {**vars(one.machine), "resource": "the URL itself"}
            told.show(inside, vars(one), vars(one.machine._endpoints)["notes"])
        learn(stage, told)
        assert len(told.secrets) > 4
    told.show(*os.walk(tmp_path))
    if isinstance(store, KeyringTokens):
        names = list(request.getfixturevalue("ring").kept)
        assert names
        told.show(*names)
    # A person is shown the URL with its state, which is theirs; the verifier is not in it.
    assert not [text for text in printed if any(secret in text for secret in told.secrets)]
    told.check()


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["closed", "garbage", "refused", "stored", "callback"])
async def test_what_goes_wrong_tells_no_secret(
    how: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    told = Told(caplog)
    folder = tmp_path / "tokens"

    async def before(asked: Asked, stream: ByteStream) -> None:
        if asked.target == "/token" and how == "closed":
            await stream.aclose()
        if asked.target == "/token" and how in ("garbage", "refused"):
            echoed = asked.body.decode()
            body = json.dumps({"error": "invalid_grant", "error_description": "no"}).encode()
            if how == "garbage":
                body = b"<html>" + echoed.encode()
            head = b"HTTP/1.1 400 x\r\ncontent-length: %d\r\n\r\n" % len(body)
            await stream.send(head + body)

    async with authority(before) as stage:
        marked(stage, told)
        person = Person(stage.world)
        if how == "callback":
            person.changed = {"iss": "https://evil.example"}
        one = Authorizer(
            stage.server,
            store=FileTokens(folder),
            sign_in=BrowserSignIn(person.open, lambda _: None),
        )
        if how == "stored":
            folder.mkdir(mode=0o700)
            (folder / "write.lock").symlink_to(tmp_path / "elsewhere")
        with patience():
            try:
                await one.refused(UNAUTHORIZED)
            except AuthorizationError as error:
                told.failed(error)
        assert told.texts or how == "stored"
        told.show(one, one.machine, one.machine.error)
        learn(stage, told)
    told.check()


# Processes


def test_no_secret_is_in_a_command_line_or_in_the_environment_of_a_browser(
    place: Place, state: FileTokens, tmp_path: Path
) -> None:
    seen = tmp_path / "seen.json"
    browser = tmp_path / "browser"
    browser.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"json.dump([sys.argv, dict(os.environ)], open({str(seen)!r}, 'w'))\n"
    )
    browser.chmod(0o700)
    secret = {"ROBOT": f"{MARK}-robot"}
    words = ["--client-id", "unknown", "--client-secret-env", "ROBOT", "--verbose", "--browser"]
    words += ["--issuer", place.issuer]
    process = command("login", place.url, *words, BROWSER=str(browser), **secret)
    url = asked(process)
    listed = Path(f"/proc/{process.pid}/cmdline")
    shown = listed.read_text() if listed.exists() else ""
    process.terminate()
    _, out, err = answered(process)
    assert url.startswith(place.issuer)
    told = f"{shown}{out}{err}" + (seen.read_text() if seen.exists() else "")
    assert "mcpcore_transports" in told
    assert MARK not in told


def test_a_child_of_a_client_inherits_no_secret_of_its_parent(monkeypatch: Any) -> None:
    monkeypatch.setenv("A_TOKEN", MARK)
    main = [*PYTHON, "-m", "mcpcore_transports.commands.main"]
    child = [sys.executable, "-c", "import os, sys; sys.exit(str(dict(os.environ)))"]
    done = subprocess.run([*main, "list", "--", *child], capture_output=True, text=True)
    assert "PATH" in done.stderr
    assert MARK not in done.stdout + done.stderr
