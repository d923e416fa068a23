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


def test_no_sign_in_at_a_server_that_takes_bound_tokens_alone(
    place: Place, state: FileTokens
) -> None:
    place.scheme = "DPoP"
    done = mcpcore_here("auth", "login", place.url, "--no-browser")
    assert done.returncode == 1
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

    again = mcpcore_here("auth", "login", place.url)  # there is one
    assert (again.returncode, "authorize" in again.stderr) == (0, False)
    listed = json.loads(mcpcore_here("auth", "status", "--json").stdout)
    assert [each["resource"] for each in listed["tokens"]] == [place.url]
    shown = mcpcore_here("auth", "status", place.url)
    assert (shown.returncode, "notes:read" in shown.stdout) == (0, True)
    (record,) = (
        json.loads(path.read_bytes())["record"]
        for path in state.folder.glob("*.json")
        if b'"access_token"' in path.read_bytes()
    )
    for name in ("access_token", "refresh_token"):
        assert record[name] not in out + shown.stdout + json.dumps(listed)

    out_ = json.loads(mcpcore_here("auth", "logout", place.url, "--json").stdout)
    assert out_ == {"found": True, "revoked": True, "reason": None}
    assert mcpcore_here("auth", "status", place.url).returncode == 1
    gone = mcpcore_here("auth", "logout", place.url)
    assert (gone.returncode, "there is no token" in gone.stderr) == (1, True)


def test_a_server_is_named_by_any_of_its_urls_or_in_a_file(
    place: Place, state: FileTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", SECRET)
    oauth = {
        "grant": "client_credentials",
        "clientId": "robot",
        "clientSecret": "${ROBOT}",
        "issuer": place.issuer,
        "account": "work",
    }
    servers = {"notes": {"url": place.url, "oauth": oauth}, "local": {"command": "marked"}}
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    config = ["--config", str(file)]
    done = mcpcore_here("auth", "login", "notes", *config, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["clientId"] == "robot"
    monkeypatch.delenv("ROBOT")  # a token that is kept is found, and forgotten, without it
    assert mcpcore_here("auth", "status", "notes", *config).returncode == 0
    assert mcpcore_here("auth", "status", place.url, "--account", "other").returncode == 1
    socket = place.url.replace("http:", "ws:")
    for url in (f"sse+{place.url}", socket):
        assert mcpcore_here("auth", "status", url, "--account", "work").returncode == 0
    assert mcpcore_here("auth", "logout", "notes", *config).returncode == 0
    assert mcpcore_here("auth", "logout", socket, "--account", "work").returncode == 1
    for words in (["local", *config], ["tcp://127.0.0.1:1"]):
        refused = mcpcore_here("auth", "logout", *words)
        assert (refused.returncode, "tokens are for URLs of" in refused.stderr) == (2, True)


def test_a_person_without_a_browser_pastes_what_it_ends_at(place: Place, state: FileTokens) -> None:
    process = command("login", place.url, "--no-browser", "--scope", "more")
    code, out, err = answered(process, visit(asked(process)) + "\n")
    assert code == 0, err
    assert "more notes:read" in out


def test_a_client_gets_a_token_of_its_own(
    place: Place, state: FileTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", SECRET)
    words = robot(place)
    done = mcpcore_here("auth", "login", place.url, *words, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["clientId"] == "robot"
    assert SECRET not in done.stdout + done.stderr
    monkeypatch.setenv("ROBOT", "other")
    refused = mcpcore_here("auth", "login", place.url, *words, "--again")
    assert refused.returncode == 1
    assert "invalid_client" in refused.stderr
    monkeypatch.setenv("ROBOT", SECRET)
    assert mcpcore_here("auth", "login", place.url, *words).returncode == 0
    other = ["--client-id", "other", *words[2:]]
    refused = mcpcore_here("auth", "login", place.url, *other)
    assert (refused.returncode, "invalid_client" in refused.stderr) == (1, True)


def test_damaged_files_hinder_no_command_and_a_sign_in_replaces_its_own(
    place: Place,
    state: FileTokens,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("ROBOT", SECRET)
    assert mcpcore_here("auth", "login", place.url, *robot(place)).returncode == 0
    for path in state.folder.glob("*.json"):
        path.write_bytes(b"")
    assert mcpcore_here("auth", "status").returncode == 0
    assert "it is damaged" in caplog.text
    assert mcpcore_here("auth", "status", place.url).returncode == 1
    for mode, helps in (
        (0o600, "it is damaged: remove it"),
        (0o644, "others can read it: make it yours alone (0600), or remove it"),
    ):
        path.chmod(mode)
        done = mcpcore_here("auth", "logout", place.url)
        assert (done.returncode, f"{path}: {helps}" in done.stderr) == (1, True), done.stderr
        told = json.loads(mcpcore_here("auth", "logout", place.url, "--json").stdout)
        assert (told["found"], f"{path}: {helps}" in told["reason"]) == (False, True)
    path.chmod(0o600)
    assert mcpcore_here("auth", "login", place.url, *robot(place)).returncode == 0
    junk = state.folder / "junk.json"
    junk.write_bytes(b"junk")
    for words in (["status"], ["status", place.url], ["logout", place.url]):
        assert mcpcore_here("auth", *words).returncode == 0
    assert str(junk) in caplog.text


@pytest.mark.parametrize("grant", ["authorization_code", "client_credentials"])
def test_no_secret_goes_to_an_issuer_that_the_server_alone_names(
    grant: str, place: Place, state: FileTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", SECRET)
    oauth = {"grant": grant, "clientId": "robot", "clientSecret": "${ROBOT}"}
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"notes": {"url": place.url, "oauth": oauth}}}))
    given = ["--client-id", "robot", "--client-secret-env", "ROBOT"]
    if grant == "client_credentials":
        given += ["--client-credentials"]
    for words in ([place.url, *given], ["notes", "--config", str(file)]):
        done = mcpcore_here("auth", "login", *words, "--no-browser")
        assert (done.returncode, "name it with --issuer" in done.stderr) == (2, True), done.stderr
    with command("add", "notes", "--config", str(file), group="call") as process:
        told = answered(process)[2]
    assert "WARNING mcpcore.auth" in told
    assert "the first that the server names gets the credentials" in told


def test_a_ceiling_bounds_what_is_asked_for_and_what_is_taken(
    place: Place, state: FileTokens, tmp_path: Path
) -> None:
    process = command("login", place.url, "--no-browser", "--ceiling", "notes:read", "--json")
    code, out, err = answered(process, visit(asked(process)) + "\n")
    assert (code, json.loads(out)["scopes"]) == (0, ["notes:read"]), err
    kept = mcpcore_here("auth", "login", place.url, "--ceiling", "notes:read more", "--json")
    assert json.loads(kept.stdout)["scopes"] == ["notes:read"]
    refused = mcpcore_here("auth", "login", place.url, "--ceiling", "more")
    assert (refused.returncode, "scopes that are not allowed: notes:read" in refused.stderr) == (
        1,
        True,
    ), refused.stderr
    file = tmp_path / "mcp.json"
    oauth = {"ceiling": ["more"], "limit": ["more"]}
    file.write_text(json.dumps({"mcpServers": {"notes": {"url": place.url, "oauth": oauth}}}))
    named = mcpcore_here("auth", "login", "notes", "--config", str(file))
    assert (named.returncode, "scopes that are not allowed: notes:read" in named.stderr) == (
        1,
        True,
    )
    assert "'oauth.limit' is unknown, and not read" in named.stderr


def test_each_query_of_a_server_has_a_token_and_none_is_shown(
    place: Place, state: FileTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", SECRET)
    done = mcpcore_here("auth", "login", f"{place.url}?key=a", *robot(place), "--json")
    assert json.loads(done.stdout)["resource"] == place.url, done.stderr
    for query, code in (("?key=a", 0), ("?key=b", 1), ("", 1)):
        told = mcpcore_here("auth", "status", place.url + query, "--json")
        assert told.returncode == code
        assert "?key" not in told.stdout
    listed = mcpcore_here("auth", "status").stdout
    assert place.url in listed
    assert "?key" not in listed
    assert mcpcore_here("auth", "logout", f"{place.url}?key=a").returncode == 0


def test_the_tokens_of_a_server_are_told_apart_and_go_together(
    place: Place, state: FileTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT", SECRET)
    process = command("login", place.url, "--no-browser")
    assert answered(process, visit(asked(process)) + "\n")[0] == 0
    for account in ([], ["--account", "work"]):
        done = mcpcore_here("auth", "login", place.url, *robot(place), *account, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["account"] == "".join(account[1:])

    def kept(*words: str) -> list[tuple[str, str]]:
        tokens = json.loads(mcpcore_here("auth", "status", *words, "--json").stdout)["tokens"]
        return sorted((each["account"], each["grant"]) for each in tokens)

    both = [("", "authorization_code"), ("", "client_credentials")]
    work = ("work", "client_credentials")
    assert kept() == kept(place.url) == [*both, work]
    assert kept(place.url, "--account", "") == both
    assert kept(place.url, "--account", "work") == kept("--account", "work") == [work]
    shown = mcpcore_here("auth", "status").stdout
    assert all(word in shown for word in ("work", "none", "client_credentials"))
    assert mcpcore_here("auth", "logout", place.url, "--account", "").returncode == 0
    assert kept() == [work]
    for path in state.folder.glob("*.json"):
        if b'"access_token"' in path.read_bytes():
            entry = json.loads(path.read_bytes())
            path.write_text(json.dumps({**entry, "record": {"access_token": "marked"}}))
    lost = mcpcore_here("auth", "status", place.url, "--account", "work")
    assert (lost.returncode, "cannot be read" in lost.stderr) == (1, True), lost.stderr
    out = mcpcore_here("auth", "logout", place.url, "--json")  # of all accounts
    assert json.loads(out.stdout)["reason"] == "the stored token cannot be read"
    assert kept() == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["http://mcp.example/mcp"], "it is not an https URL"),
        (["ftp://mcp.example/mcp"], "ftp"),
        (["http://127.0.0.1:1/mcp", "--scope", 'a"b'], "--scope: a scope holds visible"),
        (["http://127.0.0.1:1/mcp", "--ceiling", 'a"b'], "--ceiling: a scope holds visible"),
        (["http://127.0.0.1:1/mcp", "--client-credentials"], "needs --client-id"),
        (["http://127.0.0.1:1/mcp", "--client-secret-env", "X"], "needs --client-id"),
        (
            ["http://127.0.0.1:1/mcp", "--client-id", "a", "--client-secret-env", "NO_SUCH"],
            "the variable NO_SUCH is not set",
        ),
        (["http://127.0.0.1:1/mcp", "--key", "x"], "--key is the key of --cert"),
        (["http://127.0.0.1:1/mcp", "--redirect-uri", "http://a.example"], "the redirect URI"),
        (["http://127.0.0.1:1/mcp", "--metadata-url", "http://a.example"], "metadata document"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_sent(
    state: FileTokens, words: list[str], told: str
) -> None:
    done = mcpcore_here("auth", "login", *words)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr


def test_a_server_that_cannot_be_reached_has_a_status_of_its_own(state: FileTokens) -> None:
    done = mcpcore_here("auth", "login", "http://127.0.0.1:1/mcp")
    assert (done.returncode, "http://127.0.0.1:1/mcp" in done.stderr) == (3, True)


def test_a_server_that_asks_for_nothing_is_left_alone(place: Place, state: FileTokens) -> None:
    place.status, place.issuer = 200, ""
    done = mcpcore_here("auth", "login", place.url, "--no-browser")
    assert (done.returncode, "there is none" in done.stderr) == (1, True), done.stderr


def test_a_refusal_is_told_and_nothing_is_kept(place: Place, state: FileTokens) -> None:
    process = command("login", place.url, "--no-browser")
    base, _, query = visit(asked(process)).partition("?")
    wanted = [each for each in query.split("&") if not each.startswith("code=")]
    code, _, err = answered(process, f"{base}?{'&'.join(wanted)}&error=access_denied\n")
    assert (code, "access_denied" in err) == (1, True), err
    assert json.loads(mcpcore_here("auth", "status", "--json").stdout)["tokens"] == []


@pytest.mark.parametrize("words", [["--again"], ["--scope", "more"]])
def test_a_sign_in_that_fails_leaves_the_token_that_was_there(
    place: Place, state: FileTokens, words: list[str]
) -> None:
    process = command("login", place.url, "--no-browser")
    assert answered(process, visit(asked(process)) + "\n")[0] == 0
    kept = json.loads(mcpcore_here("auth", "status", "--json").stdout)["tokens"][0]["expires"]
    process = command("login", place.url, "--no-browser", *words)
    asked(process)
    code, _, err = answered(process, "")
    assert code == 1, err
    tokens = json.loads(mcpcore_here("auth", "status", "--json").stdout)["tokens"]
    assert [each["expires"] for each in tokens] == [kept]
    process = command("login", place.url, "--no-browser", *words, "--json")
    code, out, err = answered(process, visit(asked(process)) + "\n")
    assert code == 0, err
    assert mcpcore_here("auth", "logout", place.url).returncode == 0
    assert ("more" in json.loads(out)["scopes"]) is ("more" in words)


def test_a_token_that_the_server_refuses_is_replaced(place: Place, state: FileTokens) -> None:
    process = command("login", place.url, "--no-browser")
    assert answered(process, visit(asked(process)) + "\n")[0] == 0
    assert mcpcore_here("auth", "login", place.url).returncode == 0  # nobody is asked
    place.accepts = False
    process = command("login", place.url, "--no-browser")
    code, _, err = answered(process, visit(asked(process)) + "\n")
    assert code == 0, err


def test_a_registration_is_made_anew_where_it_may_be_forgotten(
    place: Place, state: FileTokens
) -> None:
    def client(*words: str) -> str:
        process = command("login", place.url, "--no-browser", "--json", *words)
        code, out, err = answered(process, visit(asked(process)) + "\n")
        assert code == 0, err
        found: str = json.loads(out)["clientId"]
        return found

    first, second = client(), client("--again")
    assert client("--scope", "more") == second != first
    assert mcpcore_here("auth", "logout", place.url).returncode == 0
    assert client() not in (first, second)


def test_the_commands_have_examples() -> None:
    for name in ("login", "status", "logout"):
        done = mcpcore_here("auth", name, "--help")
        assert f"mcpcore auth {name} https://mcp.example.com/mcp" in done.stdout
