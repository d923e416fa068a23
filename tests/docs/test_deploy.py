"""Files for containers: what they name exists, and each part reads its own."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mcpcore.http.origin import OriginPolicy
from tests.command import mcpcore_here

yaml: Any = pytest.importorskip("yaml")  # it comes with mkdocs

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: Any = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
WORKERS = ("one", "two")


def test_the_image_runs_as_nobody_and_checks_itself() -> None:
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert "slim" in DOCKERFILE
    assert "curl" not in DOCKERFILE
    assert re.search(r'CMD mcpcore probe --health "\$HEALTH_URL"$', DOCKERFILE, re.MULTILINE)
    variables = re.findall(r"(MCPCORE_\w+)=", DOCKERFILE)
    shown = mcpcore_here("serve", "--show-config", cwd=None, **dict.fromkeys(variables, "x:1"))
    assert shown.returncode == 0, shown.stderr
    assert {line.rpartition("# ")[2] for line in shown.stdout.splitlines()} >= {*variables}


def test_the_image_listens_where_a_file_says(tmp_path: Path) -> None:
    (written, path) = re.findall(r"echo '(.*)' > (\S+)", DOCKERFILE)[0]
    assert f'CMD ["--config", "{path}"]' in DOCKERFILE
    assert COMPOSE["services"]["one"]["command"] == ["--config", path]
    for text in (written, 'http = ["0.0.0.0:9000"]'):
        (tmp_path / "server.toml").write_text(text)
        variables = dict(re.findall(r"^(?:ENV)? +(MCPCORE_\w+)=(\S+)", DOCKERFILE, re.MULTILINE))
        shown = mcpcore_here(
            "serve", "--config", "server.toml", "--show-config", cwd=tmp_path, **variables
        )
        assert f"{text}  # server.toml" in shown.stdout


@pytest.mark.parametrize("file", ["Dockerfile", "docs/how-to/configuration.md"])
def test_the_command_for_the_image_serves_the_address_that_it_publishes(file: str) -> None:
    text = (ROOT / file).read_text()
    (port,) = re.findall(r"-p 127\.0\.0\.1:(\d+):8000", text)
    (host,) = re.findall(r"MCPCORE_ALLOW_HOST=(\S+)", text)
    assert OriginPolicy([host]).check(f"localhost:{port}", None) is None


def test_the_image_has_all_that_the_wheel_is_made_of() -> None:
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for each in (*packages, "pyproject.toml", "README.md", "LICENSE"):
        assert any(each == path or each.startswith(f"{path}/") for path in kept), each


def test_the_workers_are_read_only_and_read_their_files() -> None:
    for name in WORKERS:
        worker = COMPOSE["services"][name]
        assert worker["read_only"] is True
        sources = [volume.partition(":")[0] for volume in worker["volumes"]]
        assert all((DEPLOY / source).is_file() for source in sources)
    (store,) = COMPOSE["secrets"].values()
    variables = {"MCPCORE_STORE_FILE": store["file"]}
    shown = mcpcore_here(
        "serve", "--config", "server.toml", "--show-config", cwd=DEPLOY, **variables
    )
    assert shown.returncode == 0, shown.stderr
    assert "store = ***  # MCPCORE_STORE_FILE" in shown.stdout
    assert "redis" in COMPOSE["services"]
    assert (DEPLOY / store["file"]).read_text().startswith("redis://redis:6379")


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_reads_its_file(tmp_path: Path) -> None:
    site = (DEPLOY / "nginx.conf").read_text()
    for name in WORKERS:
        assert f"server {name}:8000 " in site
        site = site.replace(f"server {name}:", "server 127.0.0.1:")
    whole = f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {site} }}"
    (tmp_path / "nginx.conf").write_text(whole)
    command = ["nginx", "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_site_serves_where_a_container_engine_is() -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no container engine runs here")
    compose = ("docker", "compose", "-f", str(DEPLOY / "compose.yaml"))
    try:
        subprocess.run([*compose, "up", "--build", "--detach", "--wait"], check=True)
        done = mcpcore_here("call", "add", "a=1", "b=2", "http://localhost:8080/mcp", cwd=None)
        assert done.stdout == "3\n", done.stderr
    finally:
        subprocess.run([*compose, "down", "--volumes"], check=True)
