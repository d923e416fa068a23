"""Options of servers out of files and variables: their order, their names, and what is refused."""

import re
from pathlib import Path

import pytest

from mcpcore import MemoryTarget, PeerError, Server, TrustSettings, connect
from mcpcore.policy.rates import Activity, Rate
from mcpcore_transports.commands.options import ServeOptions
from mcpcore_transports.commands.serve import _limiter, _settings
from mcpcore_transports.commands.settled import Rates, Settled
from tests.command import Done, mcpcore_here

WHOLE = """
service = "module:server"
http = ["127.0.0.1:1", "127.0.0.1:2"]
allow-host = "a.example"
workers = 3
drain = 2
log_http = true
secrets = "vault:read"
store = { secret = "redis" }

[limits]
max_body = "1M"
HttpSettings.max_sessions = 7

[rates]
tools = { amount = 10, per = 2, burst = 20 }
callers = 5

[rates.tool]
search = { amount = 1 }

[suspicion]
violations = 5

[supervision]
backoff = 0.5

[guard]
deny = ["delete_*"]
"""
VAULT = """
def read(name):
    if name == "broken":
        raise RuntimeError("how it is come by")
    return {"redis": "redis://127.0.0.1:1", "id": "robot", "hush": "hush"}.get(name)

async def later(name):
    return read(name)
"""


def shown(folder: Path, *words: str, text: str | None = WHOLE, **changes: str) -> Done:
    """``--show-config`` in a folder with this configuration file."""
    (folder / "vault.py").write_text(VAULT)
    if text is not None:
        (folder / "server.toml").write_text(text)
        words = ("--config", "server.toml", *words)
    return mcpcore_here("serve", "--show-config", *words, cwd=folder, **changes)


def values(done: Done) -> dict[str, tuple[str, str]]:
    """Values and origins, by name, but for defaults."""
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^(\S+) = (.*)  # (.*)$", done.stdout, re.MULTILINE)
    assert len(found) == len(done.stdout.splitlines())
    return {name: (value, origin) for name, value, origin in found if origin != "default"}


def test_a_file_has_every_kind_of_value(tmp_path: Path) -> None:
    found = values(shown(tmp_path))
    assert {origin for _, origin in found.values()} == {"server.toml"}
    assert {name: value for name, (value, _) in found.items()} == {
        "service": '"module:server"',
        "http": '["127.0.0.1:1", "127.0.0.1:2"]',
        "allow_host": '["a.example"]',
        "workers": "3",
        "drain": "2.0",
        "log_http": "true",
        "store": "***",
        "limits.HttpSettings.max_body": "1048576",
        "limits.HttpSettings.max_sessions": "7",
        "rates.tools.amount": "10",
        "rates.tools.per": "2",
        "rates.tools.burst": "20",
        "rates.callers": "5",
        "rates.tool.search.amount": "1",
        "suspicion.violations": "5",
        "supervision.backoff": "0.5",
        "guard.deny": '["delete_*"]',
    }


@pytest.mark.parametrize(
    ("flags", "variables", "value", "origin"),
    [
        ((), {}, "3", "server.toml"),
        ((), {"MCPCORE_WORKERS_FILE": "four"}, "4", "MCPCORE_WORKERS_FILE"),
        ((), {"MCPCORE_WORKERS": "5"}, "5", "MCPCORE_WORKERS"),
        (("--workers", "6"), {"MCPCORE_WORKERS": "5"}, "6", "command line"),
        (("--workers", "6"), {"MCPCORE_WORKERS_FILE": "four"}, "6", "command line"),
    ],
)
def test_the_nearest_origin_counts(
    tmp_path: Path, flags: tuple[str, ...], variables: dict[str, str], value: str, origin: str
) -> None:
    (tmp_path / "four").write_text("4\n")
    found = values(shown(tmp_path, *flags, **variables))
    assert found["workers"] == ("***" if origin.endswith("_FILE") else value, origin)


def test_variables_need_no_file(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("redis://:password@127.0.0.1\n")
    variables = {
        "MCPCORE_SERVICE": "module:server",
        "MCPCORE_HTTP": "127.0.0.1:1 127.0.0.1:2",
        "MCPCORE_WEBSOCKET": "1",
        "MCPCORE_AUTH_SCOPES": "read write",
        "MCPCORE_AUTH_ISSUER": "https://a.example",
        "MCPCORE_STORE_FILE": "store",
    }
    found = values(shown(tmp_path, text=None, **variables))
    assert found == {
        "service": ('"module:server"', "MCPCORE_SERVICE"),
        "http": ('["127.0.0.1:1", "127.0.0.1:2"]', "MCPCORE_HTTP"),
        "websocket": ("true", "MCPCORE_WEBSOCKET"),
        "auth_scope": ('["read", "write"]', "MCPCORE_AUTH_SCOPES"),
        "auth_issuer": ('["https://a.example"]', "MCPCORE_AUTH_ISSUER"),
        "store": ("***", "MCPCORE_STORE_FILE"),
    }


def test_limits_are_shown_once_and_resolved(tmp_path: Path) -> None:
    variables = {"MCPCORE_MAX_BODY": "2M", "MCPCORE_MAX_SESSIONS": "8", "MCPCORE_HEAD_TIME": "3"}
    found = values(shown(tmp_path, "--limit", "HttpSettings.max_body=3M", **variables))
    assert {name: each for name, each in found.items() if name.startswith("limit")} == {
        "limits.HttpSettings.max_body": ("3145728", "command line"),
        "limits.HttpSettings.max_sessions": ("8", "MCPCORE_MAX_SESSIONS"),
        "limits.HttpServerSettings.head_time": ("3.0", "MCPCORE_HEAD_TIME"),
    }
    wrong = shown(tmp_path, MCPCORE_MAX_BODY="big")
    assert (wrong.returncode, "max_body: expected a number of bytes" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("suffix", ["", "_FILE"])
def test_credentials_are_shown_as_set(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "hush").write_text("hush")
    variables = [f"MCPCORE_AUTH_CLIENT_{name}{suffix}" for name in ("ID", "SECRET")]
    found = values(shown(tmp_path, text=None, **dict.fromkeys(variables, "hush")))
    assert found == {
        "auth_client_id": ("***", variables[0]),
        "auth_client_secret": ("***", variables[1]),
    }


CREDENTIALS = "auth_client_id = {secret = 'id'}\nauth_client_secret = {secret = 'hush'}"


@pytest.mark.parametrize("hook", ["read", "later"])
def test_credentials_are_those_of_the_vault(tmp_path: Path, hook: str) -> None:
    text = f"secrets = 'vault:{hook}'\nstore = {{secret = 'redis'}}\n{CREDENTIALS}"
    found = values(shown(tmp_path, text=text, MCPCORE_AUTH_CLIENT_ID_FILE="server.toml"))
    assert found == {
        "store": ("***", "server.toml"),
        "auth_client_id": ("***", "MCPCORE_AUTH_CLIENT_ID_FILE"),
        "auth_client_secret": ("***", "server.toml"),
    }


@pytest.mark.parametrize(
    ("variable", "value"), [("CONFIG", "server.toml"), ("CONFIG", "mcp.json"), ("QQQ", "a.toml")]
)
def test_a_file_of_options_is_not_named_by_a_variable(
    tmp_path: Path, variable: str, value: str
) -> None:
    said = shown(tmp_path, text=None, **{f"MCPCORE_{variable}": value}).stderr
    assert ("options are in the file of --config" in said) is (value == "server.toml")


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("MCPCORE_METRICS", "read by nobody; did you mean MCPCORE_METRICS_PATH?"),
        ("MCPCORE_QQQ", "MCPCORE_QQQ is read by nobody\n"),
        ("MCPCORE_LIFELINE_PLACE", None),
        ("MCPCORE_PROCESS", None),
    ],
)
def test_a_variable_that_nobody_reads_is_told(
    tmp_path: Path, variable: str, told: str | None
) -> None:
    done = shown(tmp_path, text=None, **{variable: "1"})
    assert done.returncode == 0
    assert done.stderr == "" if told is None else told in done.stderr


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("MCPCORE_WORKER", "MCPCORE_WORKERS"),
        ("MCPCORE_STORES_FILE", "MCPCORE_STORE"),
        ("MCPCORE_ALLOWED_HOST", "MCPCORE_ALLOW_HOST"),
        ("MCPCORE_MAX_BODDY", "MCPCORE_MAX_BODY"),
        ("MCPCORE_AUTH_JWKS_URI", "MCPCORE_AUTH_JWKS_URL"),
        ("MCPCORE_AUTH_CLIENT_SECRETS", "MCPCORE_AUTH_CLIENT_SECRET"),
        ("MCPCORE_VERSION", None),
        ("MCPCORE_PRINCIPAL", None),
        ("MCPCORE_BENCH_PROFILE", None),
    ],
)
def test_a_mistyped_variable_is_refused(tmp_path: Path, variable: str, meant: str | None) -> None:
    done = shown(tmp_path, text=None, **{variable: "4"})
    said = " ".join(done.stderr.replace("│", " ").split())
    wanted = f"there is no variable {variable}; did you mean {meant}?"
    assert (done.returncode, wanted in said) == ((0, False) if meant is None else (2, True)), said


@pytest.mark.parametrize("origin", ["flag", "variable", "file"])
def test_no_secret_is_shown(tmp_path: Path, origin: str) -> None:
    url = "rediss://ada:hush-hush@127.0.0.1/0?password=hush-hush"
    done = {
        "flag": lambda: shown(tmp_path, "--store", url, text=None),
        "variable": lambda: shown(tmp_path, text=None, MCPCORE_STORE=url),
        "file": lambda: shown(tmp_path, text=f'store = "{url}"'),
    }[origin]()
    assert values(done)["store"][0] == '"rediss://ada:***@127.0.0.1/0?password=***"'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a b", "server.toml is no TOML"),
        ('htp = ["x"]', "server.toml has the unknown member 'htp'; did you mean 'http'?"),
        ('naming = "always"', "server.toml has the unknown member 'naming'"),
        ("show_config = true", "unknown member 'show_config'"),
        ("http = [[1]]", "http: expected text, a number, true or false, or a list of these"),
        ("workers = [1, 2]", "workers: one value is expected, not a list"),
        ('workers = "two"', "(it is from server.toml)"),
        ("limits = 1", "limits: expected a table"),
        ("[limits]\nmax_bdy = 1", "server.toml: --limit: there is no limit 'max_bdy'; did"),
        ("[limits]\nmax_body = 'big'", "max_body: expected a number of bytes"),
        ("[rates]\ntoolz = {}", "rates has the unknown member 'toolz'; did you mean 'tool'?"),
        ("[rates]\ntool = 3", "rates.tool: expected a table"),
        ("[rates]\ntools = 3", "rates.tools: expected a table"),
        ("[rates]\ntools = {amount = 0}", "rates.tools: the amount of a rate must be positive"),
        ("[rates]\ntools = {amount = true}", "rates.tools: expected numbers"),
        ("[rates]\ntools = {}", "rates.tools: "),
        ("[rates]\ncallers = 0", "rates.callers: expected a whole number above 0"),
        ("[suspicion]\nviolation = 1", "unknown member 'violation'; did you mean 'violations'?"),
        ("[supervision]\nbackof = 1", "unknown member 'backof'; did you mean 'backoff'?"),
        ("[supervision]\nstart = 0", "supervision: start must be above 0"),
        ("[suspicion]\nviolations = 0", "suspicion: violations, half_life and callers must be"),
        ("[guard]\nstrict = true", "guard has the unknown member 'strict'"),
        ("[guard]\nresults = 'no'", "guard: Invalid enum value 'no' - at `$.results`"),
        ('secrets = "vault"', "secrets: expected MODULE:FUNCTION, not 'vault'"),
        ('secrets = "vault:none"', "secrets: "),
        ('secrets = "no_such_vault:read"', "secrets: No module named 'no_such_vault'"),
        ('store = {secret = "redis"}', "store: a secret needs the member secrets"),
        ('secrets = "vault:read"\nstore = {secret = "x"}', "store: there is no secret 'x'"),
        ('secrets = "vault:read"\nstore = {hidden = "x"}', "store: expected a value, or { secret"),
        (
            'secrets = "vault:read"\nstore = {secret = "broken"}',
            "store: the secret 'broken': RuntimeError",
        ),
        (
            'secrets = "vault:later"\nstore = {secret = "broken"}',
            "store: the secret 'broken': RuntimeError",
        ),
        ('secrets = "vault:later"\nstore = {secret = "x"}', "store: there is no secret 'x'"),
        ("auth_client_id = ['a', 'b']", "auth_client_id: one value is expected, not a list"),
        (CREDENTIALS, "auth_client_id: a secret needs the member secrets"),
    ],
)
def test_what_a_file_cannot_say_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    done = shown(tmp_path, text=text)
    said = " ".join(done.stderr.replace("│", " ").split())
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in said
    assert "how it is come by" not in said


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"MCPCORE_STORE": "x", "MCPCORE_STORE_FILE": "x"}, "MCPCORE_STORE and MCPCORE_STORE_FILE"),
        ({"MCPCORE_STORE_FILE": "no-file"}, "MCPCORE_STORE_FILE: no-file: No such file"),
        ({"MCPCORE_STORE_FILE": "large"}, "MCPCORE_STORE_FILE: large has more than 1048576 bytes"),
        ({"MCPCORE_WORKERS": "x"}, "'--workers'"),
    ],
)
def test_what_a_variable_cannot_say_is_refused(
    tmp_path: Path, variables: dict[str, str], problem: str
) -> None:
    (tmp_path / "large").write_bytes(b"x" * ((1 << 20) + 1))
    done = shown(tmp_path, text=None, **variables)
    assert done.returncode == 2
    assert problem in " ".join(done.stderr.replace("│", " ").split())


def test_a_file_is_found_and_read_before_the_command_runs(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text('service = "no_such_module:server"')
    done = mcpcore_here("serve", "--config", "server.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: there is no module 'no_such_module'\n")
    missing = mcpcore_here("serve", "--config", "no.toml", cwd=tmp_path)
    assert missing.returncode == 2
    assert "'--config': no.toml: No such file or directory" in missing.stderr


def test_limits_and_policies_reach_the_settings() -> None:
    rates = Rates(rates={Activity.TOOLS: Rate(1, 60.0)}, per_tool={"search": Rate(2)}, callers=9)
    settled = Settled(limits={"file": ("max_body=1M", "max_sessions=7")}, rates=rates)
    options = ServeOptions(http=("127.0.0.1:0",), limit=("max_body=2M",), settled=settled)
    settings = _settings(options, develop=False)
    assert (settings.http.max_body, settings.http.max_sessions) == (2 << 20, 7)
    limiter = _limiter(options)
    assert limiter is not None
    waits = [
        limiter.admit(Activity.TOOLS, "ada", now=0.0),
        limiter.admit(Activity.TOOLS, "ada", now=0.0),
        limiter.admit(Activity.READS, "ada", now=0.0),
    ]
    assert waits == [0.0, 60.0, 0.0]


@pytest.mark.anyio
async def test_the_guard_is_around_the_handlers() -> None:
    server = Server("shop", version="1")
    server.add_tool(lambda: "mail to ada@example.com", "whom")
    server.add_tool(lambda: "done", "delete_all")
    settled = Settled(guard=TrustSettings(deny=("delete_*",), redact=True))
    runtime = _settings(ServeOptions(settled=settled), develop=False).runtime
    async with connect(MemoryTarget(server, runtime)) as client:
        assert [tool.name for tool in await client.tools()] == ["whom"]
        assert (await client.call_tool("whom")).text == "mail to <hidden-1>"
        with pytest.raises(PeerError, match="not allowed here"):
            await client.call_tool("delete_all")


def test_credentials_of_a_vault_reach_the_issuer(tmp_path: Path) -> None:
    (tmp_path / "vault.py").write_text(VAULT)
    whole = f"secrets = 'vault:later'\n{CREDENTIALS}"
    options = ("--auth-resource", "https://a.example", "--auth-issuer", "https://b.example")
    words = (*options, "--auth-introspection", "https://b.example/ask", "no_such_module:server")
    for text, problem in ((whole, "no module"), (whole.rpartition("\n")[0], "CLIENT_SECRET")):
        (tmp_path / "server.toml").write_text(text)
        done = mcpcore_here("serve", "--config", "server.toml", *words, cwd=tmp_path)
        assert problem in done.stderr


def test_credentials_in_files_reach_the_issuer(tmp_path: Path) -> None:
    for name in ("id", "secret"):
        (tmp_path / name).write_text(f"the {name}\n")
    options = ("--auth-resource", "https://a.example", "--auth-issuer", "https://b.example")
    variables = {f"MCPCORE_AUTH_CLIENT_{name}_FILE": name.lower() for name in ("ID", "SECRET")}
    lone = dict([*variables.items()][:1])
    words = (*options, "--auth-introspection", "https://b.example/ask", "no_such_module:server")
    assert "no module" in mcpcore_here("serve", *words, cwd=tmp_path, **variables).stderr
    assert (
        "MCPCORE_AUTH_CLIENT_SECRET" in mcpcore_here("serve", *words, cwd=tmp_path, **lone).stderr
    )
