"""The house holds: who may import whom, what the core may load, and that every package is typed."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
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
PROOF = ("demo", "interop", "mutants", "official", "peers", "real")
"""Packages of ``conformance`` that are not installed."""
PACKAGES = (*SOURCES, *(f"conformance.{name}" for name in PROOF))

CORE_LIBRARIES = {"msgspec"}
CORE_NEVER = {
    "asyncio",
    "anyio",
    "logging",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "trio",
}

CORE_NEVER_CALLS = re.compile(
    r"open|input|print|breakpoint"
    r"|(datetime\.)?(datetime|date)\.(now|utcnow|today)|(uuid\.)?uuid[1-8]|(\w+\.)?getnode"
)
"""Files, the terminal, clocks and randomness that need no import of their own."""

PACKAGE_ARROWS: dict[str, set[str]] = {
    "mcpcore": set(),
    "mcpcore_transports": {"mcpcore"},
    "mcpcore_conformance": {"mcpcore", "mcpcore_transports"},
    "mcpcore_bench": {"mcpcore", "mcpcore_transports", "mcpcore_conformance"},
    "conformance": {"mcpcore", "mcpcore_transports", "mcpcore_conformance"},
}
FRONT_DOOR = ("mcpcore/__init__.py", "mcpcore_transports")
"""It names the drivers: to type checkers, and by strings."""
ROOM_ARROWS: dict[str, set[str]] = {
    "wire": set(),
    "spec": {"wire"},
    "engine": {"wire", "spec"},
    "http": {"wire", "spec", "engine"},
    "auth": {"wire", "engine", "errors"},
    "trace": {"wire"},
    "errors": {"spec", "engine"},
    "service": {"wire", "spec", "errors", "auth"},
    "policy": {"wire", "spec", "engine"},
    "relay": {"wire", "spec", "engine", "http", "service"},
}


def base_of(package: str) -> Path:
    """The folder that a package is imported from."""
    return ROOT / SOURCES.get(package, "")


def folder_of(package: str) -> Path:
    return base_of(package).joinpath(*package.split("."))


def modules(package: str) -> Iterator[Path]:
    yield from sorted(folder_of(package).rglob("*.py"))


def imported(path: Path, base: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, wherever the statement stands, with its line."""
    package = path.relative_to(base).parent.parts
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*above, node.module or "")).strip(".")
            yield node.lineno, module
            for alias in node.names:  # `from mcpcore import engine` imports a room
                yield node.lineno, f"{module}.{alias.name}"


def breaches(package: str) -> list[str]:
    """Imports of ``package`` that its arrows do not allow."""
    found = []
    own = package.partition(".")[0]
    for path in modules(package):
        room = path.relative_to(folder_of(package)).parts[0].removesuffix(".py")
        for line, name in imported(path, base_of(package)):
            top, _, rest = name.partition(".")
            at_file = str(path.relative_to(ROOT))
            at = f"{at_file}:{line} imports {name}"
            if top in PACKAGE_ARROWS and top != own:
                if top not in PACKAGE_ARROWS[own] and (at_file, top) != FRONT_DOOR:
                    found.append(at)
            elif top == "tests":
                found.append(at)
            elif package == "mcpcore":
                if top != "mcpcore":
                    if top in CORE_NEVER or top not in sys.stdlib_module_names | CORE_LIBRARIES:
                        found.append(at)
                elif room in ROOM_ARROWS:
                    target = rest.partition(".")[0]
                    if target in ROOM_ARROWS.keys() - {room} - ROOM_ARROWS[room]:
                        found.append(at)
                    elif target not in ROOM_ARROWS:
                        found.append(f"{at}, not one of the rooms")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_arrow_points_up(package: str) -> None:
    assert list(modules(package)), "the package is empty"
    assert breaches(package) == []


@pytest.mark.parametrize(
    ("file", "source", "breach"),
    [
        ("mcpcore/wire/x.py", "import asyncio.events", True),
        ("mcpcore/wire/x.py", "def f():\n    from time import monotonic", True),
        ("mcpcore/wire/x.py", "import h11", True),
        ("mcpcore/wire/x.py", "import msgspec, re", False),
        ("mcpcore/wire/x.py", "from mcpcore import spec", True),
        ("mcpcore/spec/types/x.py", "from mcpcore.wire.message import RequestId", False),
        ("mcpcore/spec/x.py", "from ..engine import events", True),
        ("mcpcore/engine/x.py", "from mcpcore.http.server.server import HttpServer", True),
        ("mcpcore/service/x.py", "from mcpcore.engine import peer", True),
        ("mcpcore/http/x.py", "from . import headers", False),
        ("mcpcore/http/__init__.py", "from .headers import a", False),
        ("mcpcore/http/__init__.py", "from ..service import a", True),
        ("mcpcore/http/x.py", "from mcpcore_transports import link", True),
        ("mcpcore/__init__.py", "from mcpcore_transports import link", False),
        ("mcpcore/__init__.py", "import mcpcore_conformance", True),
        ("transports/mcpcore_transports/x.py", "from mcpcore_conformance import everything", True),
        ("conformance/mcpcore_conformance/x.py", "from conformance import mutants", True),
        ("conformance/mcpcore_conformance/x.py", "from tests.conftest import a", True),
        ("conformance/mcpcore_conformance/x.py", "from mcpcore_transports import link", False),
        ("conformance/mutants/x.py", "from mcpcore_conformance import kit", False),
        ("conformance/mutants/x.py", "import mcpcore_bench", True),
    ],
)
def test_the_check_sees(
    file: str, source: str, breach: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert any(breaches(package) for package in PACKAGES) is breach


@pytest.mark.parametrize("package", SOURCES)
def test_package_is_typed(package: str) -> None:
    assert (folder_of(package) / "py.typed").is_file()


def loaded_by(statement: str) -> set[str]:
    """Names of all modules that a fresh interpreter loads for ``statement``."""
    done = subprocess.run(
        [sys.executable, "-I", "-X", "importtime", "-c", statement],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    lines = done.stderr.splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


@pytest.mark.parametrize(
    "module",
    [
        "mcpcore",
        "mcpcore.engine.peer",
        "mcpcore.http.server.server",
        "mcpcore.service",
        "mcpcore.auth.authorization",
        "mcpcore.auth.resource_server",
    ],
)
def test_core_loads_no_io(module: str) -> None:
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    # what the interpreter itself and msgspec load is not our doing
    given = loaded_by(start + "import msgspec, msgspec.json")
    loaded = loaded_by(start + f"import {module}")
    assert module in loaded
    assert (loaded - given) & CORE_NEVER == set()
    assert loaded & {"asyncio", "anyio", "ssl", "socket"} == set()


def unsound_calls(source: str) -> list[str]:
    """Calls in a module of the core that depend on more than their arguments."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    names = (ast.unparse(call.func) for call in calls)
    return [name for name in names if CORE_NEVER_CALLS.fullmatch(name)]


def test_no_call_of_the_core_reaches_files_clocks_or_randomness() -> None:
    found = {str(path): unsound_calls(path.read_text()) for path in modules("mcpcore")}
    assert {path: calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "call",
    ["open('x')", "print(1)", "datetime.now()", "datetime.datetime.now()", "uuid.uuid4()"],
)
def test_such_a_call_is_found(call: str) -> None:
    assert unsound_calls(f"def f():\n    return {call}") == [call.partition("(")[0]]
    assert unsound_calls("self.open(1), datetime.fromtimestamp(1, UTC), seal.open()") == []


PARTS = re.compile(
    r"\b(\w*peer|machine|teller|heir)\._(endpoint|inbound|negotiation|outbound|state)\b"
)
"""The parts of a Peer, which belong to `mcpcore`."""


def test_drivers_use_a_peer_by_its_public_names() -> None:
    files = [
        path
        for package in ("transports", "conformance", "benchmarks", "docs")
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".md"}
    ]
    assert len(files) > 300
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files
        for match in PARTS.finditer(path.read_text())
    ]
    assert found == []


INHERITED = 2
"""Most classes of ours with behaviour that a class may have above each other."""


def classes(package: str) -> dict[str, ast.ClassDef]:
    """The classes of a package on the first level of its modules, by their dotted names."""
    found = {}
    for path in modules(package):
        module = ".".join(path.relative_to(base_of(package)).with_suffix("").parts)
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.ClassDef):
                found[f"{module}.{node.name}"] = node
    return found


def named(module: Path) -> dict[str, str]:
    """What the names mean that a module imports, wherever the statement stands."""
    found = {}
    for node in ast.walk(ast.parse(module.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def behaves(node: ast.ClassDef) -> bool:
    """Whether a class has a method that does anything."""
    nothing = (ast.Pass, ast.Raise)
    return any(
        not isinstance(step, nothing)
        and not (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant))
        and not (isinstance(step, ast.Return) and step.value is None)
        for each in node.body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        for step in each.body
    )


def heirs(*packages: str) -> Iterator[tuple[str, int, int]]:
    """Each class with its bases that behave, and how many such classes stand above each other."""
    known = {name: node for package in packages for name, node in classes(package).items()}
    bases: dict[str, list[str]] = {}
    doors: dict[str, str] = {}
    for package in packages:
        for path in modules(package):
            module = ".".join(path.relative_to(base_of(package)).with_suffix("").parts)
            if path.stem == "__init__":
                room = module.removesuffix(".__init__")
                doors |= {f"{room}.{name}": of for name, of in named(path).items()}
            names = named(path)
            for name in known:
                if name.rpartition(".")[0] == module:
                    plain = [re.split(r"\[", ast.unparse(base))[0] for base in known[name].bases]
                    bases[name] = [names.get(base, f"{module}.{base}") for base in plain]

    def height(name: str) -> int:
        if name not in known:
            return height(doors[name]) if name in doors else 0
        above = max((height(base) for base in bases[name]), default=0)
        return above + behaves(known[name])

    def apart(name: str) -> bool:
        """Whether a class is an exception, or a Struct: values, not parts of a machine."""
        roots = bases.get(name, [])
        return any(
            base.rpartition(".")[2] in {"Struct", "Exception", "Enum", "StrEnum"} or apart(base)
            for base in roots
        )

    for name in sorted(known):
        if not apart(name):
            heights = [height(base) for base in bases[name]]
            yield name, sum(map(bool, heights)), max(heights, default=0)


def test_no_class_is_put_together_of_others() -> None:
    """Parts of a machine are its members: what a class does can be read in one place."""
    found = [*heirs("mcpcore", "mcpcore_transports")]
    assert len(found) > 250
    assert [name for name, several, _ in found if several > 1] == []
    assert [name for name, _, above in found if above > INHERITED] == []


def test_inheritance_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = {
        "a": "class A:\n    def f(self):\n        self.x = 1\n"
        "class I:\n    def g(self):\n        raise NotImplementedError\n"
        "class B(A, I):\n    def f(self):\n        return 2\n",
        "b": "from mcpcore.a import A, B, I\nclass C(B):\n    def f(self):\n        return 3\n"
        "class D(C): ...\nclass E(A, C): ...\nclass F(I): ...\nclass G(Exception, D): ...\n",
    }
    (tmp_path / "mcpcore").mkdir()
    for name, text in source.items():
        (tmp_path / "mcpcore" / f"{name}.py").write_text(text)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    counted = {name.rpartition(".")[2]: (some, above) for name, some, above in heirs("mcpcore")}
    assert counted == {
        **{"A": (0, 0), "I": (0, 0), "B": (1, 1), "C": (1, 2)},
        **{"D": (1, 3), "E": (2, 3), "F": (0, 0)},
    }
