"""The engine in Pyodide, under Node: the programs of the pages, and the cases of the kit."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import anyio
import pytest

from conformance.official.suite import NODE
from mcpcore import connect
from mcpcore_transports.targets import StdioTarget
from tests.absent import absent
from tests.clock import PATIENCE, patience
from tests.docs.blocks import blocks, programs
from tests.interop.kit_on_core import verdicts

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs/how-to"
TOOLS = ROOT / ".tools"
WHEELS = sorted((TOOLS / "wheels").glob("msgspec-*wasm32.whl"))
PYODIDE = TOOLS / "node_modules/pyodide"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if not (WHEELS and PYODIDE.exists()):
        absent("Pyodide")


RUNNER = """
import { readFileSync, readdirSync } from "node:fs";
import { loadPyodide } from "pyodide";

const file = (name) => new Uint8Array(readFileSync(name));
const python = await loadPyodide();
for (const name of readdirSync("wheels")) python.unpackArchive(file(`wheels/${name}`), "wheel");
python.FS.writeFile("eras.py", file("eras.py"));
python.setStdout({ batched: console.log });
python.runPython("import sys; sys.path.insert(0, '.')");
try {
  await python.runPythonAsync(readFileSync("program.py", "utf8"));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
"""
LIBRARIES = ("anyio", "h11", "idna", "typing_extensions.py", "wsproto")
"""What the kit imports and is Python alone."""
KIT = """
import json, sys, types

loads = json.loads

def bounded(text, **options):
    # CPython raises this before its stack is full; Pyodide ends.
    opening = ("[", "{") if isinstance(text, str) else (b"[", b"{")
    if sum(map(text.count, opening)) > 900:
        raise RecursionError
    return loads(text, **options)

json.loads = bounded
schema = types.ModuleType("mcpcore_transports.schema")  # jsonschema and re2 have no wheels for it
schema.compile_schema = lambda schema: lambda value: []
sys.modules[schema.__name__] = schema
from kit_on_core import verdicts
print(json.dumps(await verdicts()))
"""
WITHOUT_SCHEMAS = {
    "basic/index/ref-resolution/client-unresolved",
    "basic/patterns/mrtr/error-handling/malformed-answer",
    "client/elicitation/form-mode-security/server-validates",
    "server/tools/output-schema/client-validates",
    "server/tools/output-schema/client-validates-references",
    "server/tools/security-considerations/rules-of-2020-12",
}
"""Cases about the validation of JSON Schemas, whose libraries Pyodide does not have."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the page has it: the wheels, and Pyodide."""
    folder = tmp_path_factory.mktemp("pyodide")
    wheels = folder / "wheels"
    wheels.mkdir()
    shutil.copy(WHEELS[0], wheels)
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(wheels), str(ROOT)]
    subprocess.run(words, check=True, cwd=folder)
    (folder / "node_modules").symlink_to(TOOLS / "node_modules")
    for block in blocks(PAGES / "pyodide.md"):
        first = block.text.partition("\n")[0]
        if block.kind in ("python", "js"):
            (folder / first.split()[1]).write_text(block.text)
    return folder


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_a_server_in_pyodide(revision: str, house: Path) -> None:
    async def talk() -> None:
        target = StdioTarget((str(NODE), "server.mjs"), cwd=str(house))
        with patience():
            async with connect(target, revisions=(revision,)) as client:
                assert [tool.name for tool in await client.tools()] == ["upper"]
                assert (await client.call_tool("upper", {"text": "hello"})).text == "HELLO"

    anyio.run(talk)


def test_a_relay_in_pyodide(house: Path) -> None:
    program = next(each for each in programs(PAGES / "embedding.md") if "eras.py" in each.files)
    (house / "eras.py").write_text(program.files["eras.py"])
    (house / "program.py").write_text(program.source)
    (house / "relay.mjs").write_text(RUNNER)
    words = [str(NODE), "relay.mjs"]
    done = subprocess.run(
        words, cwd=house, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout) == (0, program.output), done.stderr[-2000:]


def test_the_kit_judges_the_engine_there_as_it_does_here(house: Path) -> None:
    installed = Path(sysconfig.get_path("purelib"))
    for name in LIBRARIES:
        shutil.make_archive(str(house / "wheels" / name), "zip", installed, name)
    shutil.copy(ROOT / "tests/interop/kit_on_core.py", house)
    (house / "program.py").write_text(KIT)
    (house / "kit.mjs").write_text(RUNNER.replace("eras.py", "kit_on_core.py"))
    words = [str(NODE), "kit.mjs"]
    done = subprocess.run(
        words, cwd=house, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    there, here = json.loads(done.stdout), anyio.run(verdicts)
    assert len(here) > 1500
    assert set(here.values()) == {"PASSED", "NOT_APPLICABLE"}
    assert there.keys() == here.keys()
    other = {place.rpartition(", ")[0] for place in here if there[place] != here[place]}
    assert other == WITHOUT_SCHEMAS
