"""The house holds: who may import whom, what the core may load, and that every package is typed."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
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

CORE_PURE = {
    *("base64", "binascii", "bisect", "collections", "contextlib", "copy", "decimal", "enum"),
    *("functools", "hashlib", "heapq", "hmac", "html.unescape", "inspect.Parameter", "ipaddress"),
    *("itertools", "json", "math", "msgspec", "operator", "re", "types", "typing", "unicodedata"),
    *("urllib.parse", "zlib"),
}
"""Modules that the core may import: they compute, and reach nothing outside."""
CORE_NAMES = {
    *("codecs.utf_8_decode", "importlib.import_module", "importlib.util.find_spec", "io.BytesIO"),
    *("datetime.UTC", "datetime.date", "datetime.datetime", "datetime.datetime.fromtimestamp"),
    *("datetime.time", "datetime.timedelta", "inspect.cleandoc", "inspect.get_annotations"),
    *("inspect.getdoc", "inspect.isasyncgenfunction", "inspect.isclass"),
    *("inspect.isgeneratorfunction",),
    *("inspect.iscoroutinefunction", "inspect.isroutine", "inspect.signature", "sys.intern"),
    *("sys.maxsize", "sys.modules", "sys.modules.get", "sys.version_info", "uuid.UUID"),
}
"""Names that it may use of modules that do more as well ..."""
CORE_STRICT = {"auth", "policy", "relay"}
"""... but not in these rooms."""
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
"""Modules that it must not load through another either."""

CORE_NEVER_CALLS = re.compile(
    r"open|input|print|breakpoint|eval|exec|__import__|.*\.(utc)?now|.*\.today"
)
"""Files, the terminal, code and clocks that need no import of their own."""

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
    "auth": {"wire", "spec", "engine", "errors"},
    "trace": {"wire", "errors"},
    "errors": {"spec", "engine"},
    "service": {"wire", "spec", "errors", "auth"},
    "policy": {"wire", "spec", "engine", "trace"},
    "relay": {"wire", "spec", "engine", "http", "errors"},
}

DRIVER_FLOORS = (
    {"link", "tls", "http1", "schema"},
    {"running"},
    {"stores", "tracing"},
    {"stream"},
    {"memory"},
    {"server"},
    {"http", "adapters"},
    {"auth"},
    {"targets", "websocket"},
    {"sockets"},
    {"stdio"},
    {"serve"},
    {"client"},
    {"telemetry"},
    {"gateway"},
    {"commands"},
)
"""Rooms of the drivers, from the lowest floor to the highest: each imports from lower floors only,
types too."""
FLOOR_OF = {room: floor for floor, rooms in enumerate(DRIVER_FLOORS) for room in rooms}


def base_of(package: str) -> Path:
    """The folder that a package is imported from."""
    return ROOT / SOURCES.get(package, "")


def folder_of(package: str) -> Path:
    return base_of(package).joinpath(*package.split("."))


def modules(package: str) -> Iterator[Path]:
    yield from sorted(folder_of(package).rglob("*.py"))


@lru_cache(maxsize=1)  # one is asked of after the other, and all together would fill the memory
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file, for all that is asked of it."""
    return ast.parse(path.read_bytes())


def dotted(node: ast.expr) -> list[str]:
    """The names of ``a.b.c``; none of what is more than names."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def imported(path: Path, base: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, wherever the statement stands, with its line."""
    package = path.relative_to(base).parent.parts
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*above, node.module or "")).strip(".")
            yield node.lineno, module
            for alias in node.names:  # `from mcpcore import engine` imports a room
                yield node.lineno, f"{module}.{alias.name}"


def climbs(room: str, target: str) -> bool:
    """Tell whether an import from one room of the drivers to another leads to no lower floor."""
    return room != target and FLOOR_OF.get(target, len(DRIVER_FLOORS)) >= FLOOR_OF.get(room, -1)


def used(path: Path) -> Iterator[tuple[int, str]]:
    """Every name of another package that a file imports, or reaches through one, with its line.

    They are in full, such as ``datetime.datetime.now``, by whatever name they are bound.  One of a
    module that is imported ends in a dot: what is used of it comes by itself.
    """
    tree, bound, inner = tree_of(path), dict[str, str](), set[ast.expr]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, f"{alias.name}."
                top = alias.name.partition(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            bound |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            inner.add(node.value)
        if isinstance(node, ast.Attribute | ast.Name) and node not in inner:
            names = dotted(node)
            if names and names[0] in bound:
                yield node.lineno, ".".join((bound[names[0]], *names[1:]))


def pure(name: str, *, strict: bool) -> bool:
    """Whether the core may use a name of another package; ``strict``: in any of its rooms."""
    parts = name.split(".")
    if any(".".join(parts[:length]) in CORE_PURE for length in range(1, len(parts) + 1)):
        return True
    module = name.endswith(".") and any(each.startswith(name) for each in CORE_NAMES)
    return not strict and (module or name in CORE_NAMES)


def breaches(package: str) -> list[str]:
    """Imports of ``package`` that its arrows do not allow."""
    found = []
    own = package.partition(".")[0]
    for path in modules(package):
        room = path.relative_to(folder_of(package)).parts[0].removesuffix(".py")
        if package == "mcpcore":
            found += [
                f"{path.relative_to(ROOT)}:{line} uses {name}"
                for line, name in used(path)
                if name.partition(".")[0] not in PACKAGE_ARROWS
                and not pure(name, strict=room in CORE_STRICT)
            ]
        for line, name in imported(path, base_of(package)):
            top, _, rest = name.partition(".")
            at_file = str(path.relative_to(ROOT))
            at = f"{at_file}:{line} imports {name}"
            if top in PACKAGE_ARROWS and top != own:
                if top not in PACKAGE_ARROWS[own] and (at_file, top) != FRONT_DOOR:
                    found.append(at)
            elif top == "tests":
                found.append(at)
            elif package == top == "mcpcore_transports" and rest:
                if climbs(room, rest.partition(".")[0]):
                    found.append(at)
            elif package == top == "mcpcore" and room in ROOM_ARROWS:
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
        ("mcpcore/wire/x.py", "from urllib import parse\nparse.quote('')", False),
        ("mcpcore/wire/x.py", "import urllib.request", True),
        ("mcpcore/wire/x.py", "from urllib.request import urlopen", True),
        ("mcpcore/wire/x.py", "import urllib.parse\nurllib.request.urlopen('')", True),
        ("mcpcore/wire/x.py", "import sqlite3", True),
        ("mcpcore/wire/x.py", "import tempfile", True),
        ("mcpcore/wire/x.py", "from pathlib import Path\nPath('x').read_text()", True),
        ("mcpcore/wire/x.py", "import uuid as u\nu.UUID(int=1)", False),
        ("mcpcore/wire/x.py", "import uuid as u\nu.uuid4()", True),
        ("mcpcore/wire/x.py", "from io import BytesIO\nBytesIO().read()", False),
        ("mcpcore/wire/x.py", "import io\nio.open('x')", True),
        ("mcpcore/wire/x.py", "import io\ni = io", True),
        ("mcpcore/wire/x.py", "import sys\nsys.stdin.read()", True),
        ("mcpcore/service/x.py", "import datetime as d\nd.datetime.now", True),
        ("mcpcore/service/x.py", "from datetime import datetime as d\nd.now", True),
        *((f"mcpcore/{room}/x.py", "from io import BytesIO", True) for room in sorted(CORE_STRICT)),
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
        ("transports/mcpcore_transports/http/x.py", "import mcpcore_transports.serve.x", True),
        ("transports/mcpcore_transports/http/x.py", "from ..serve import x", True),
        ("transports/mcpcore_transports/http/x.py", "from mcpcore_transports import auth", True),
        ("transports/mcpcore_transports/http/x.py", "from ..http1 import x", False),
        (
            "transports/mcpcore_transports/http/x.py",
            "from mcpcore_transports.nowhere import x",
            True,
        ),
        (
            "transports/mcpcore_transports/http/x.py",
            "if TYPE_CHECKING:\n    from mcpcore_transports.serve import x",
            True,
        ),
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


@cache
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
    ["open('x')", "print(1)", "exec('')", "clock.now()", "a.b.utcnow()", "day.today()"],
)
def test_such_a_call_is_found(call: str) -> None:
    assert unsound_calls(f"def f():\n    return {call}") == [call.partition("(")[0]]
    assert unsound_calls("self.open(1), datetime.fromtimestamp(1, UTC), seal.open()") == []


PRIVATE = re.compile(
    r"\b(\w*peer|_?modern|machine|teller|successor)\._(endpoint|inbound|negotiation|outbound|state)\b"
)
"""The parts of a Peer, by the names that the engine alone uses ..."""
PARTS = re.compile(r"\b(\w*peer|machine|teller|successor|session|replica)\.parts\b")
"""... and by those that `mcpcore.http` uses."""


@pytest.mark.parametrize(
    ("rooms", "pattern"),
    [
        (["mcpcore/http"], PRIVATE),
        (["transports", "conformance", "benchmarks", "docs", "mcpcore/relay"], PRIVATE),
        (["transports", "conformance", "benchmarks", "docs", "mcpcore/relay"], PARTS),
    ],
)
def test_a_peer_is_used_by_its_public_names(rooms: list[str], pattern: re.Pattern[str]) -> None:
    files = [
        path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix in {".py", ".md"}
    ]
    assert len(files) > 20
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files
        for match in pattern.finditer(path.read_text())
    ]
    assert found == []


SHORT = 60
REASONS = {
    "mcpcore/spec/types/skills.py": "a module for each family of types",
    "mcpcore/types.py": "the second front door",
    "mcpcore_transports/commands/health.py": "a health check starts without the rest",
    "mcpcore_transports/commands/loading.py": "the pytest plugin of the kit loads servers, too",
    "mcpcore_transports/gateway/subjects.py": "few gateways exchange tokens",
    "mcpcore_transports/running/audit.py": "servers, clients and gateways have one audit log",
    "mcpcore_transports/server/violations.py": "servers and gateways count them",
}
"""Modules of fewer lines than that, with the reason for each."""


def test_a_short_module_has_a_reason() -> None:
    short = {
        str(path.relative_to(base_of(package)))
        for package in ("mcpcore", "mcpcore_transports")
        for path in modules(package)
        if path.stem != "__init__" and path.read_bytes().count(b"\n") < SHORT
    }
    assert short == REASONS.keys()


STACKED = 30
"""Most values of a call that CPython passes on its stack, each argument with a name being two."""


def test_no_function_makes_a_dict_to_call_another() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for package in ("mcpcore", "mcpcore_transports")
        for path in modules(package)
        for function in ast.walk(tree_of(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and len(call.args) + 2 * len(call.keywords) > STACKED
    ]
    assert found == [], "the dict of a call with so many names costs a tenth of a small request"


INHERITED = 2
"""Most classes of ours with behaviour that a class may have above each other."""


def classes(path: Path, base: Path) -> dict[str, ast.ClassDef]:
    """The classes of a module on its first level, by their dotted names."""
    module = ".".join(path.relative_to(base).with_suffix("").parts)
    return {
        f"{module}.{node.name}": node
        for node in tree_of(path).body
        if isinstance(node, ast.ClassDef)
    }


def all_classes(packages: Iterable[str]) -> Iterator[tuple[str, ast.ClassDef]]:
    """The classes of packages with their dotted names; the tree of a module is kept no longer."""
    for package in packages:
        for path in modules(package):
            yield from classes(path, base_of(package)).items()


def test_a_class_name_means_one_thing() -> None:
    homes: dict[str, list[str]] = {}
    for name, _ in all_classes(("mcpcore", "mcpcore_transports")):
        homes.setdefault(name.rpartition(".")[2].lstrip("_"), []).append(name)
    assert len(homes) > 900
    assert [names for names in homes.values() if len(names) > 1] == []


def test_a_struct_hides_in_every_representation_what_it_hides() -> None:
    """A ``__repr__`` of its own leaves msgspec's ``__rich_repr__``, which shows all fields."""
    own = {
        name
        for name, node in all_classes(PACKAGES)
        if any(isinstance(each, ast.FunctionDef) and each.name == "__repr__" for each in node.body)
        and any("Struct" in ast.unparse(base) for base in node.bases)
    }
    assert own == {"mcpcore.wire.redaction.Discreet", "mcpcore.spec.revisions.Revision"}


def named(module: Path) -> dict[str, str]:
    """What the names mean that a module imports, wherever the statement stands."""
    found = {}
    for node in ast.walk(tree_of(module)):
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
    known: dict[str, bool] = {}  # whether it behaves: whole trees would fill the memory
    bases: dict[str, list[str]] = {}
    doors: dict[str, str] = {}
    for package in packages:
        for path in modules(package):
            names = named(path)
            if path.stem == "__init__":
                room = ".".join(path.relative_to(base_of(package)).parent.parts)
                doors |= {f"{room}.{name}": of for name, of in names.items()}
            for name, node in classes(path, base_of(package)).items():
                known[name] = behaves(node)
                plain = [re.split(r"\[", ast.unparse(base))[0] for base in node.bases]
                here = name.rpartition(".")[0]
                bases[name] = [names.get(base, f"{here}.{base}") for base in plain]

    def height(name: str) -> int:
        if name not in known:
            return height(doors[name]) if name in doors else 0
        above = max((height(base) for base in bases[name]), default=0)
        return above + known[name]

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
