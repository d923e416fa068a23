"""The wheel: what it installs, and that the core runs with msgspec alone."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {
    "mcpcore": "",
    "mcpcore_transports": "transports",
    "mcpcore_conformance": "conformance",
    "mcpcore_bench": "benchmarks",
}
"""The installed packages, and the folders that they stand in."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT, cwd=folder)
    (built,) = folder.glob("mcpcore-*.whl")
    return built


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter outside the checkout that has the wheel, msgspec and nothing else."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", wheel, "msgspec", cwd=folder)
    return python


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == SOURCES.keys()
    assert {f"{package}/py.typed" for package in SOURCES} <= set(names)
    sources = {
        str(path.relative_to(ROOT / folder))
        for package, folder in SOURCES.items()
        for path in (ROOT / folder / package).rglob("*.py")
    }
    assert sources <= set(names)


def test_readme_names_the_installed_packages() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    installed = readme.partition("installs the top-level packages")[2].partition(".")[0]
    assert {package for package in SOURCES if f"`{package}`" in installed} == SOURCES.keys()


def test_core_runs_with_msgspec_alone(clean_python: Path, tmp_path: Path) -> None:
    installed = run(clean_python, "-m", "pip", "list", "--format=freeze", cwd=tmp_path)
    names = {line.partition("==")[0] for line in installed.splitlines()}
    assert names - {"pip", "setuptools"} == {"mcpcore", "msgspec"}
    program = """
import importlib, pkgutil, mcpcore
for module in pkgutil.walk_packages(mcpcore.__path__, "mcpcore."):
    importlib.import_module(module.name)
print(mcpcore.__file__)
"""
    where = Path(run(clean_python, "-c", program, cwd=tmp_path).strip())
    assert ROOT not in where.parents


def test_missing_dependency_of_a_driver_is_named(clean_python: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [clean_python, "-c", "import mcpcore_transports.stdio.server"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode != 0
    assert "anyio" in done.stderr
