"""The official suite's scenarios of authorization servers, at the development server."""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from conformance.official import suite
from tests.clock import PATIENCE
from tests.ports import free_port
from tests.transports.auth.test_auth_commands import issuer, visit

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

URL = re.compile(r"^(http://\S+/authorize\?\S+)$", re.MULTILINE)


@pytest.fixture(autouse=True)
def _tools() -> None:
    try:
        suite.require_tools()
    except suite.ToolsMissing as missing:
        pytest.skip(str(missing))


def _register(at: str, redirect: str) -> str:
    wanted = {"redirect_uris": [redirect], "token_endpoint_auth_method": "none"}
    request = urllib.request.Request(
        f"{at}/register", json.dumps(wanted).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return str(json.load(answer)["client_id"])


def test_the_development_server_passes_both(tmp_path: Path) -> None:
    port = free_port()
    redirect = f"http://127.0.0.1:{port}/callback"
    with issuer() as at:
        words = ["authorization", "--url", at, "--client-id", _register(at, redirect)]
        words += ["--port", str(port), "--resource", "https://mcp.example/mcp"]
        with subprocess.Popen(
            [str(suite.NODE), str(suite.SUITE), *words, "--output-dir", str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
        ) as process:
            assert process.stdout is not None
            said = ""
            asked = None
            for line in process.stdout:  # the person is asked, and consents once it is waited for
                said += line
                asked = asked or URL.search(said)
                if asked and "Callback server started" in line:
                    page = urllib.request.urlopen(visit(asked[1]), timeout=PATIENCE)
                    assert page.status == 200
        assert process.returncode == 0, said
    checks = [
        check
        for file in tmp_path.rglob("checks.json")
        for check in json.loads(file.read_text(encoding="utf-8"))
    ]
    passed = {check["id"] for check in checks if check["status"] == "SUCCESS"}
    assert [check for check in checks if check["status"] not in ("SUCCESS", "INFO")] == []
    assert {"authorization-server-metadata", "authorization-code-grant"} <= passed
