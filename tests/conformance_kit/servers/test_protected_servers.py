"""Servers that a command starts, and that are told of the kit's authorization server."""

import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from conformance.mutants.faulty_wire import FaultyStage
from conformance.mutants.http_faults import refuses, with_header
from mcpcore.spec.revisions import REVISIONS
from mcpcore_conformance.auth.issuer import RunningIssuer
from mcpcore_conformance.auth.keys import verify
from mcpcore_conformance.kit.discover import discover
from mcpcore_conformance.kit.model import Binding, Verdict
from mcpcore_conformance.kit.play import play
from mcpcore_conformance.kit.talk import Timing
from mcpcore_conformance.kit.tokens import BROAD_SCOPE, SCOPE, TOOL_SCOPE, Tokens, read
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.stages import everything
from tests.command import Done, mcpcore_here
from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

EVERYTHING = (*PYTHON, "-m", "mcpcore_conformance.everything.server", "--http")
EXPIRED = "basic/authorization/token-handling/expired"
RESOURCE = "http://127.0.0.1:9/mcp"


def checked(port: int, *command: str, only: str = "rfc9728") -> Done:
    url = f"http://127.0.0.1:{port}/mcp"
    words = ("conformance", "server", "--protected", "--only", only, "--revision", "2025-11-25")
    return mcpcore_here(*words, "--report", "json", url, "--", *command)


def test_a_command_is_started_and_told(free_tcp_port: int) -> None:
    done = checked(free_tcp_port, *EVERYTHING, f"127.0.0.1:{free_tcp_port}")
    assert done.returncode == 0, done.stderr
    verdicts = {entry["verdict"] for entry in json.loads(done.stdout)}
    assert verdicts == {Verdict.PASSED}


def test_a_server_that_heeds_nothing_of_it_fails(free_tcp_port: int) -> None:
    forgetful = ("env", "-u", "MCP_CONFORMANCE_AUTH_ISSUER", *EVERYTHING)
    only = "basic/authorization/token-handling/*"
    done = checked(free_tcp_port, *forgetful, f"127.0.0.1:{free_tcp_port}", only=only)
    assert done.returncode == 1, done.stderr
    found = {entry["id"].rpartition("/")[2]: entry["verdict"] for entry in json.loads(done.stdout)}
    failed = {name for name, verdict in found.items() if verdict == Verdict.FAILED}
    made = {"expired", "not-yet-valid", "audience", "issuer", "signature", "algorithm", "malformed"}
    assert failed == made
    assert {found[name] for name in found.keys() - made} == {Verdict.NOT_APPLICABLE}


@pytest.mark.parametrize(
    ("source", "said"),
    [("import sys; sys.exit('why not')", "ended with status 1"), ("", "ended with status 0")],
)
def test_a_command_that_ends_is_said_to(source: str, said: str, free_tcp_port: int) -> None:
    done = checked(free_tcp_port, sys.executable, "-c", source)
    assert done.returncode == 3
    assert said in done.stderr


TELLS = """
import json, os, sys
told = {name: value for name, value in os.environ.items() if "CONFORMANCE" in name}
open(sys.argv[1], "w").write(json.dumps(told))
"""


def test_the_variables_are_those_that_the_page_names(tmp_path: Path, free_tcp_port: int) -> None:
    file = tmp_path / "told.json"
    checked(free_tcp_port, sys.executable, "-c", TELLS, str(file))
    told = json.loads(file.read_text())
    issuer = told["MCP_CONFORMANCE_AUTH_ISSUER"]
    assert told == {
        "MCP_CONFORMANCE_AUTH_ISSUER": issuer,
        "MCP_CONFORMANCE_AUTH_JWKS_URL": f"{issuer}/jwks",
        "MCP_CONFORMANCE_AUTH_RESOURCE": f"http://127.0.0.1:{free_tcp_port}/mcp",
        "MCP_CONFORMANCE_AUTH_SCOPE": SCOPE,
        "MCP_CONFORMANCE_AUTH_TOOL_SCOPE": TOOL_SCOPE,
        "MCP_CONFORMANCE_AUTH_BROAD_SCOPE": BROAD_SCOPE,
    }
    page = Path(__file__).parents[3] / "docs" / "how-to" / "conformance.md"
    text = page.read_text()
    assert [name for name in told if f"`{name}`" not in text] == []


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    async def issued() -> Tokens:
        async with RunningIssuer(RESOURCE) as tokens:
            return tokens

    return anyio.run(issued)


@pytest.mark.parametrize(
    ("name", "subject", "scopes"),
    [
        ("good", "conformance-kit", {SCOPE, TOOL_SCOPE}),
        ("other", "conformance-kit-other", {SCOPE, TOOL_SCOPE}),
        ("bound", "conformance-kit", {SCOPE, TOOL_SCOPE}),
        ("used", "conformance-kit", {SCOPE}),
        ("broad", "conformance-kit", {BROAD_SCOPE}),
        ("bare", "conformance-kit", set()),
    ],
)
def test_each_token_has_its_scopes(
    tokens: Tokens, name: str, subject: str, scopes: set[str]
) -> None:
    _, claims = read(getattr(tokens, name))
    assert (claims["iss"], claims["aud"]) == (tokens.issuer, RESOURCE)
    assert (claims["sub"], {*claims.get("scope", "").split()}) == (subject, scopes)
    assert ("cnf" in claims) is (name == "bound")


def test_a_changed_token_differs_in_what_was_changed(tokens: Tokens) -> None:
    made = tokens.changed(aud=None, exp=1)
    header, claims = read(tokens.good)
    assert read(made) == (header, {**{k: v for k, v in claims.items() if k != "aud"}, "exp": 1})
    text, _, _ = made.rpartition(".")
    signature = tokens.key.sign(text.encode())
    assert verify(tokens.key.public, tokens.key.algorithm, text.encode(), signature)
    stranger = tokens.changed(signer=tokens.stranger)
    assert read(stranger) == read(tokens.good)
    assert stranger.rpartition(".")[2] != tokens.good.rpartition(".")[2]


@pytest.mark.anyio
async def test_a_server_that_takes_no_more_tokens_is_not_blamed() -> None:
    """Servers may refuse whoever has shown too many wrong tokens, right ones then as well."""
    (case,) = [each for each in all_cases() if each.id == EXPIRED]
    revision = REVISIONS[-1]
    async with AsyncExitStack() as stack:
        stage = await everything(Binding.HTTP, guarded=True).make(stack)
        features = await discover(stage, revision, Timing())
        tired = FaultyStage(stage, refuses(with_header("authorization"), 429))
        result = await play(case, tired, revision, features)
    assert (result.verdict, "429" in result.detail) == (Verdict.INCONCLUSIVE, True)
