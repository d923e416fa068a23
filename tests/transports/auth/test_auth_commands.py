"""`mcpcore auth login`, `status`, `logout`: real processes, at the development server."""

import json
import os
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mcpcore_transports.auth.file_store import FileTokens
from tests.clock import PATIENCE
from tests.command import ROOT, mcpcore_here
from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

SECRET = "the-marked-secret"
PLACE = "http://127.0.0.1:1/mcp"
"""Where nobody listens."""


class Place:
    """A protected resource: its metadata, and a 401 for everything else."""

    def __init__(self) -> None:
        self.issuer = ""
        self.status = 401
        self.named = True
        self.scheme = "Bearer"
        self.accepts = True
        """Tokens are accepted, without a look."""
        place = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path == "/.well-known/oauth-protected-resource/mcp" and place.issuer
                document = {"resource": place.url, "authorization_servers": [place.issuer]}
                self._say(200 if found else 404, json.dumps(document).encode())

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                accepted = place.accepts and "authorization" in self.headers
                self._say(202 if accepted else place.status, b"")

            def _say(self, status: int, body: bytes) -> None:
                self.send_response(status)
                if status == 401 and place.named:
                    named = f"{place.origin}/.well-known/oauth-protected-resource/mcp"
                    challenge = f'{place.scheme} resource_metadata="{named}", scope="notes:read"'
                    self.send_header("WWW-Authenticate", challenge)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.url = f"{self.origin}/mcp"


@contextmanager
def issuer(*options: str) -> Iterator[str]:
    """The development authorization server, as a process."""
    command = [*PYTHON, "-m", "mcpcore_conformance.auth", "--yes", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("listening on http://127.0.0.1:"), line
            yield line.split()[-1]
        finally:
            process.terminate()


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    with issuer("--client", f"robot:{SECRET}") as made.issuer:
        yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileTokens:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "*")
    return FileTokens()


def robot(place: Place) -> list[str]:
    """Options of a client that has a secret of its own, in a variable."""
    words = ["--client-id", "robot", "--client-secret-env", "ROBOT", "--client-credentials"]
    return [*words, "--issuer", place.issuer]


def visit(url: str) -> str:
    """Follow redirects as a browser does; return where it ends, which may be at nobody's port."""

    class Stop(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    opener = urllib.request.build_opener(Stop, urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        return str(error.headers["location"])
    raise AssertionError("no redirect")


def command(*words: str, group: str = "auth", **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*PYTHON, "-m", "mcpcore_transports.commands.main", group, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TERM": "dumb", **more},
    )


def asked(process: "subprocess.Popen[str]") -> str:
    """The URL that a person is sent to."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("http://127.0.0.1:") and "/authorize" in line:
            return line.strip()
    raise AssertionError("nobody was asked")


def answered(process: "subprocess.Popen[str]", said: str = "") -> tuple[int, str, str]:
    out, err = process.communicate(said, timeout=PATIENCE)
    return process.returncode, out, err


def signed_in(place: Place, *words: str) -> str:
    """What the command prints where a person signs in and pastes the URL at which it ends."""
    process = command("login", place.url, "--no-browser", *words)
    code, out, err = answered(process, visit(asked(process)) + "\n")
    assert code == 0, err
    return out


def auth(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """A command that asks nobody, and ends with this status."""
    done = mcpcore_here("auth", *words)
    assert done.returncode == status, done.stderr
    return done


def tokens(*words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(auth("status", *words, "--json").stdout)["tokens"]
    return found


def configured(tmp_path: Path, place: Place, **oauth: object) -> list[str]:
    """Options that name a configuration file with the server ``notes``, and a local one."""
    servers = {"notes": {"url": place.url, "oauth": oauth}, "local": {"command": "marked"}}
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    return ["--config", str(file)]


def test_no_sign_in_at_a_server_that_takes_bound_tokens_alone(
    place: Place, state: FileTokens
) -> None:
    place.scheme = "DPoP"
    done = auth("login", place.url, "--no-browser", status=1)
    assert "the server takes tokens bound to a DPoP key alone" in done.stderr
    assert "Sign in" not in done.stderr


def test_a_person_signs_in_by_the_callback_sees_it_and_signs_out(
    place: Place, state: FileTokens
) -> None:
    process = command("login", place.url, "--browser", "--json", BROWSER="true")
    end = visit(asked(process))
    page = urllib.request.urlopen(end, timeout=PATIENCE).read()
    assert b"You can close this window" in page
    code, out, _ = answered(process)
    assert code == 0
    told = json.loads(out)
    assert (told["resource"], told["issuer"]) == (place.url, place.issuer)
    assert told["scopes"] == ["notes:read", "offline_access"]
    assert (told["refreshable"], told["expiresIn"] > 0) == (True, True)

    assert "authorize" not in auth("login", place.url).stderr  # there is one
    listed = auth("status", "--json").stdout
    assert [each["resource"] for each in json.loads(listed)["tokens"]] == [place.url]
    shown = auth("status", place.url).stdout
    assert "notes:read" in shown
    (record,) = (
        json.loads(path.read_bytes())["record"]
        for path in state.folder.glob("*.json")
        if b'"access_token"' in path.read_bytes()
    )
    for name in ("access_token", "refresh_token"):
        assert record[name] not in out + shown + listed

    gone = json.loads(auth("logout", place.url, "--json").stdout)
    assert gone == {"found": True, "revoked": True, "reason": None}
    auth("status", place.url, status=1)
    assert "there is no token" in auth("logout", place.url, status=1).stderr


def test_a_server_is_named_by_any_of_its_urls_or_in_a_file(
    place: Place, state: FileTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", SECRET)
    config = configured(
        tmp_path,
        place,
        grant="client_credentials",
        clientId="robot",
        clientSecret="${ROBOT}",
        issuer=place.issuer,
        account="work",
    )
    done = auth("login", "notes", *config, "--json")
    assert json.loads(done.stdout)["clientId"] == "robot"
    monkeypatch.delenv("ROBOT")  # a token that is kept is found, and forgotten, without it
    auth("status", "notes", *config)
    auth("status", place.url, "--account", "other", status=1)
    socket = place.url.replace("http:", "ws:")
    for url in (f"sse+{place.url}", socket):
        auth("status", url, "--account", "work")
    auth("logout", "notes", *config)
    auth("logout", socket, "--account", "work", status=1)
    for words in (["local", *config], ["tcp://127.0.0.1:1"]):
        assert "tokens are for URLs of" in auth("logout", *words, status=2).stderr


def test_a_person_without_a_browser_pastes_what_it_ends_at(place: Place, state: FileTokens) -> None:
    assert "more notes:read" in signed_in(place, "--scope", "more")


def test_a_client_gets_a_token_of_its_own(
    place: Place, state: FileTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", SECRET)
    words = robot(place)
    done = auth("login", place.url, *words, "--json")
    assert json.loads(done.stdout)["clientId"] == "robot"
    assert SECRET not in done.stdout + done.stderr
    monkeypatch.setenv("ROBOT", "other")
    refused = auth("login", place.url, *words, "--again", status=1)
    assert "invalid_client" in refused.stderr
    monkeypatch.setenv("ROBOT", SECRET)
    auth("login", place.url, *words)
    refused = auth("login", place.url, "--client-id", "other", *words[2:], status=1)
    assert "invalid_client" in refused.stderr


def test_damaged_files_hinder_no_command_and_a_sign_in_replaces_its_own(
    place: Place,
    state: FileTokens,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("ROBOT", SECRET)
    auth("login", place.url, *robot(place))
    for path in state.folder.glob("*.json"):
        path.write_bytes(b"")
    auth("status")
    assert "it is damaged" in caplog.text
    auth("status", place.url, status=1)
    for mode, helps in (
        (0o600, "it is damaged: remove it"),
        (0o644, "others can read it: make it yours alone (0600), or remove it"),
    ):
        path.chmod(mode)
        assert f"{path}: {helps}" in auth("logout", place.url, status=1).stderr
        told = json.loads(auth("logout", place.url, "--json", status=1).stdout)
        assert (told["found"], f"{path}: {helps}" in told["reason"]) == (False, True)
    path.chmod(0o600)
    auth("login", place.url, *robot(place))
    junk = state.folder / "junk.json"
    junk.write_bytes(b"junk")
    for words in (["status"], ["status", place.url], ["logout", place.url]):
        auth(*words)
    assert str(junk) in caplog.text


@pytest.mark.parametrize("grant", ["authorization_code", "client_credentials"])
def test_no_secret_goes_to_an_issuer_that_the_server_alone_names(
    grant: str, place: Place, state: FileTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", SECRET)
    config = configured(tmp_path, place, grant=grant, clientId="robot", clientSecret="${ROBOT}")
    given = ["--client-id", "robot", "--client-secret-env", "ROBOT"]
    if grant == "client_credentials":
        given += ["--client-credentials"]
    for words in ([place.url, *given], ["notes", *config]):
        done = auth("login", *words, "--no-browser", status=2)
        assert "name it with --issuer" in done.stderr
    with command("add", "notes", *config, group="call") as process:
        told = answered(process)[2]
    assert "WARNING mcpcore.auth" in told
    assert "the first that the server names gets the credentials" in told


def test_a_ceiling_bounds_what_is_asked_for_and_what_is_taken(
    place: Place, state: FileTokens, tmp_path: Path
) -> None:
    got = signed_in(place, "--ceiling", "notes:read", "--json")
    kept = auth("login", place.url, "--ceiling", "notes:read more", "--json").stdout
    assert json.loads(got)["scopes"] == json.loads(kept)["scopes"] == ["notes:read"]
    refused = auth("login", place.url, "--ceiling", "more", status=1)
    config = configured(tmp_path, place, ceiling=["more"], limit=["more"])
    named = auth("login", "notes", *config, status=1)
    for done in (refused, named):
        assert "scopes that are not allowed: notes:read" in done.stderr
    assert "'oauth.limit' is unknown, and not read" in named.stderr


def test_each_query_of_a_server_has_a_token_and_none_is_shown(
    place: Place, state: FileTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", SECRET)
    done = auth("login", f"{place.url}?key=a", *robot(place), "--json")
    assert json.loads(done.stdout)["resource"] == place.url
    for query, code in (("?key=a", 0), ("?key=b", 1), ("", 1)):
        told = auth("status", place.url + query, "--json", status=code)
        assert "?key" not in told.stdout
    listed = auth("status").stdout
    assert place.url in listed
    assert "?key" not in listed
    auth("logout", f"{place.url}?key=a")


def test_the_tokens_of_a_server_are_told_apart_and_go_together(
    place: Place, state: FileTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", SECRET)
    signed_in(place)
    for account in ([], ["--account", "work"]):
        done = auth("login", place.url, *robot(place), *account, "--json")
        assert json.loads(done.stdout)["account"] == "".join(account[1:])

    def kept(*words: str) -> list[tuple[str, str]]:
        return sorted((each["account"], each["grant"]) for each in tokens(*words))

    both = [("", "authorization_code"), ("", "client_credentials")]
    work = ("work", "client_credentials")
    assert kept() == kept(place.url) == [*both, work]
    assert kept(place.url, "--account", "") == both
    assert kept(place.url, "--account", "work") == kept("--account", "work") == [work]
    shown = auth("status").stdout
    assert all(word in shown for word in ("work", "none", "client_credentials"))
    auth("logout", place.url, "--account", "")
    assert kept() == [work]
    for path in state.folder.glob("*.json"):
        if b'"access_token"' in path.read_bytes():
            entry = json.loads(path.read_bytes())
            path.write_text(json.dumps({**entry, "record": {"access_token": "marked"}}))
    lost = auth("status", place.url, "--account", "work", status=1)
    assert "cannot be read" in lost.stderr
    out = mcpcore_here("auth", "logout", place.url, "--json")  # of all accounts
    assert json.loads(out.stdout)["reason"] == "the stored token cannot be read"
    assert kept() == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["http://mcp.example/mcp"], "it is not an https URL"),
        (["ftp://mcp.example/mcp"], "ftp"),
        ([PLACE, "--scope", 'a"b'], "--scope: a scope holds visible"),
        ([PLACE, "--ceiling", 'a"b'], "--ceiling: a scope holds visible"),
        ([PLACE, "--client-credentials"], "needs --client-id"),
        ([PLACE, "--client-secret-env", "X"], "needs --client-id"),
        ([PLACE, "--client-id", "a", "--client-secret-env", "NO_SUCH"], "NO_SUCH is not set"),
        ([PLACE, "--key", "x"], "--key is the key of --cert"),
        ([PLACE, "--redirect-uri", "http://a.example"], "the redirect URI"),
        ([PLACE, "--metadata-url", "http://a.example"], "metadata document"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_sent(
    state: FileTokens, words: list[str], told: str
) -> None:
    assert told in auth("login", *words, status=2).stderr


def test_a_server_that_cannot_be_reached_has_a_status_of_its_own(state: FileTokens) -> None:
    told = auth("login", f"{PLACE}?key=hidden", status=3).stderr
    assert PLACE in told
    assert "hidden" not in told  # in a file it may stand for a variable


def test_a_server_that_asks_for_nothing_is_left_alone(place: Place, state: FileTokens) -> None:
    place.status, place.issuer = 200, ""
    said = auth("login", place.url, "--no-browser", status=1).stderr
    assert "the server asks for no token, and the metadata of the server cannot be used" in said


def test_a_refusal_is_told_and_nothing_is_kept(place: Place, state: FileTokens) -> None:
    process = command("login", place.url, "--no-browser")
    base, _, query = visit(asked(process)).partition("?")
    wanted = [each for each in query.split("&") if not each.startswith("code=")]
    code, _, err = answered(process, f"{base}?{'&'.join(wanted)}&error=access_denied\n")
    assert (code, "access_denied" in err) == (1, True), err
    assert tokens() == []


@pytest.mark.parametrize("words", [["--again"], ["--scope", "more"]])
def test_a_sign_in_that_fails_leaves_the_token_that_was_there(
    place: Place, state: FileTokens, words: list[str]
) -> None:
    signed_in(place)
    kept = tokens()[0]["expires"]
    process = command("login", place.url, "--no-browser", *words)
    asked(process)
    code, _, err = answered(process, "")
    assert code == 1, err
    assert [each["expires"] for each in tokens()] == [kept]
    out = signed_in(place, *words, "--json")
    auth("logout", place.url)
    assert ("more" in json.loads(out)["scopes"]) is ("more" in words)


def test_a_token_that_the_server_refuses_is_replaced(place: Place, state: FileTokens) -> None:
    signed_in(place)
    auth("login", place.url)  # nobody is asked
    place.accepts = False
    signed_in(place)


def test_a_registration_is_made_anew_where_it_may_be_forgotten(
    place: Place, state: FileTokens
) -> None:
    def client(*words: str) -> object:
        return json.loads(signed_in(place, "--json", *words))["clientId"]

    first, second = client(), client("--again")
    assert client("--scope", "more") == second != first
    auth("logout", place.url)
    assert client() not in (first, second)


def test_the_commands_have_examples() -> None:
    for name in ("login", "status", "logout"):
        assert f"mcpcore auth {name} https://mcp.example.com/mcp" in auth(name, "--help").stdout
