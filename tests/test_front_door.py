"""The front door: every name has one home, checkers see what Python finds, and pages use it."""

import ast
import builtins
import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import mcpcore
import mcpcore.errors
import mcpcore.types
from mcpcore.spec import types
from tests.reference.api import API
from tests.reference.sources import classes

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = [
    path
    for pattern in (
        "benchmarks/mcpcore_bench/floods/server.py",
        "benchmarks/mcpcore_bench/programs/*.py",
        "conformance/*/our_client.py",
        "conformance/mcpcore_conformance/everything/*.py",
        "conformance/mutants/programs/*.py",
    )
    for path in sorted(ROOT.glob(pattern))
]
"""Programs as a user would write them."""
IMPORT = re.compile(r"^ *(?:from|import) (mcpcore(?:_transports)?(?:\.[\w.]+)?)\b", re.MULTILINE)
DOORS = {"mcpcore", "mcpcore.types"}
LISTED = {module for _, modules in API.values() for module in modules}
"""Modules of the API reference, which pages of the reference may show."""


def for_checkers() -> dict[str, str]:
    """Names that type checkers see, with their modules."""
    tree = ast.parse(Path(mcpcore.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.asname or alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_checkers_see_what_python_finds() -> None:
    assert for_checkers() == mcpcore._HOMES
    for name, module in mcpcore._HOMES.items():
        assert getattr(mcpcore, name) is getattr(importlib.import_module(module), name)


def test_the_list_is_whole() -> None:
    assert dir(mcpcore) == getattr(mcpcore, "__all__")  # noqa: B009 - no checker knows of it
    at_once = {name for name in dir(mcpcore) if name not in mcpcore._HOMES}
    assert {"Peer", "Config", "events"} <= at_once
    assert mcpcore._HOMES.keys() <= set(dir(mcpcore))


def test_types_are_there_unasked() -> None:
    said = "import mcpcore; print(mcpcore.types.Tool.__name__)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout == "Tool\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mcpcore' has no attribute 'Sever'"):
        _ = mcpcore.Sever  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        _ = mcpcore.types.Nothing  # type: ignore[attr-defined]


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without what the drivers need; the packaging tests have an environment without it."""
    real = builtins.__import__

    def without_anyio(name: str, *args: Any) -> Any:
        if name.partition(".")[0] == "anyio":
            raise ModuleNotFoundError("No module named 'anyio'", name="anyio")
        return real(name, *args)

    for name in [name for name in sys.modules if name.startswith("mcpcore_transports")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(vars(mcpcore), "connect", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_anyio)
    with pytest.raises(ImportError) as caught:
        _ = mcpcore.connect
    assert str(caught.value) == (
        "mcpcore.connect needs anyio, which is not installed: pip install mcpcore"
    )


WITHOUT = """
import sys
for library in sys.argv[1:]:
    sys.modules[library] = None
import mcpcore, pydoc
from mcpcore import *
pydoc.render_doc(mcpcore)
for name in sorted(mcpcore._HOMES.keys() - {*dir(mcpcore)}):
    assert name not in globals()
    try:
        getattr(mcpcore, name)
    except ImportError as error:
        print(error)
    else:
        print(name, "is there, and not in the list")
"""
LIBRARIES = {
    "auth": ("cryptography",),
    "schema": ("jsonschema", "re2"),
    "otel": ("opentelemetry",),
    "metrics": ("prometheus_client",),
}
"""Libraries without which names are missing, by extra."""


@pytest.mark.parametrize("extras", [[*LIBRARIES], ["schema"], ["metrics"]], ids="-".join)
def test_without_extras_all_else_is_there(extras: list[str]) -> None:
    absent = [library for extra in extras for library in LIBRARIES[extra][-1:]]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *absent], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    said = [re.search(r"pip install 'mcpcore\[(\w+)]'$", line) for line in done.stdout.splitlines()]
    named = {match and match[1] for match in said}
    assert named == {*extras} - ({"metrics"} if "otel" in extras else set())


def test_without_the_libraries_of_the_drivers_the_engine_is_there() -> None:
    words = [sys.executable, "-c", WITHOUT, "anyio"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    named = [line for line in done.stdout.splitlines() if not line.endswith("not in the list")]
    assert len(named) > 70
    said = re.compile(r".* needs anyio(\.\w+)?, which is not installed: pip install mcpcore")
    assert all(map(said.fullmatch, named))


def test_types_are_those_of_the_specification() -> None:
    assert vars(mcpcore.types)["__all__"] == vars(types)["__all__"] == sorted(types._HOMES)
    assert all(getattr(mcpcore.types, name) is getattr(types, name) for name in types._HOMES)


INNER = {"AS_SENT", "Maybe", "S", "SentTask", "T", "as_sent"}
"""Names of the modules of types that no program needs."""


def test_checkers_see_the_types_that_python_finds() -> None:
    """Checkers read each module of types whole, Python finds a type's module in a table."""
    assert types._NAMES.keys() == {
        path.stem for path in Path(types.__file__).parent.glob("[a-z]*.py")
    }
    for theme, names in types._NAMES.items():
        path = Path(types.__file__).with_name(f"{theme}.py")
        made: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case (
                    ast.ClassDef(name=name, col_offset=0) | ast.FunctionDef(name=name, col_offset=0)
                ):
                    made.add(name)
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name, col_offset=0))
                ) if getattr(importlib.import_module(f"mcpcore.spec.types.{theme}"), name, None):
                    made.add(name)
        assert {name for name in made if name[0] != "_"} - INNER == set(names.split()), theme


ROOTS = "mcpcore.spec.errors"
"""Exceptions that the types and tables of the specification raise; mcpcore.errors exports them."""
OF_ONE_ROOM = {
    "mcpcore.auth": {
        "NonceMissing": "a proof without nonce, which the challenge then gives",
        "TokenRefused": "a token, which becomes the challenge that names the reason",
        "Unreachable": "an outage, after which another issuer is tried, or this one later",
    },
    "mcpcore.http.headers": {"HeaderError": "a field, which becomes a refusal or a Fault"},
    "mcpcore.relay": {"ListsUnread": "lists that are not read, by which no pin is held"},
    "mcpcore.service.reading": {"Misfit": "a part of a value, which becomes InvalidValue"},
    "mcpcore_transports.commands": {"Failure": "the end of a command with its status"},
    "mcpcore_transports.http.client": {
        "Challenged": "a challenge, after which the request is repeated",
        "ExchangeFailed": "an exchange, which becomes a Fault",
    },
    "mcpcore_transports.http1": {
        "BadBody": "a body, which becomes a refusal or a Fault",
        "BadCoding": "a coded body, which becomes a Fault",
        "BadHead": "a head, which becomes a refusal or a Fault",
        "Bomb": "a coded body that grows too much, which becomes a Fault",
    },
    "mcpcore_transports.schema": {"TooMuchWork": "the end of a validation, which is a problem"},
    "mcpcore_transports.websocket": {"UpgradeRefused": "an upgrade, which becomes a refusal"},
}
"""Exceptions that modules of one room pass to each other, with what they are about."""


def test_exceptions_stand_in_one_tree() -> None:
    found = {each for each in classes(BaseException) if each.__module__ != "mcpcore.errors"}
    assert len(found) > 15
    roots = {each for each in found if each.__module__ == ROOTS}
    assert all(getattr(mcpcore.errors, each.__name__) is each for each in roots)
    inner = {
        (room, name): any(
            each.__name__ == name and f"{each.__module__}.".startswith(f"{room}.") for each in found
        )
        for room, names in OF_ONE_ROOM.items()
        for name in names
    }
    assert all(inner.values())
    assert len(inner) == len(found - roots)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_need_the_front_door_alone(page: Path) -> None:
    named = set(IMPORT.findall(page.read_text(encoding="utf-8")))
    assert named - DOORS <= (LISTED if page.parent.name == "reference" else set())


DOTTED = re.compile(r"`(mcpcore_transports(?:\.\w+)+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_modules_of_the_drivers_and_nothing_in_them(page: Path) -> None:
    """A name that a reader may need is behind the front door."""
    for name in DOTTED.findall(page.read_text(encoding="utf-8")):
        importlib.import_module(name)


CALLED = re.compile(r"`([A-Z]\w+|[a-z]+_\w+)\([^`]*`")
OF_OTHERS = {"Mount", "params_of"}
"""Names that pages call, and which belong to Starlette and to the conformance kit."""


@cache
def made_here() -> set[str]:
    """Functions and classes of the engine and the drivers."""
    return {
        node.name
        for folder in ("mcpcore", "transports/mcpcore_transports")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.parse(path.read_bytes()).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_calls_is_behind_the_front_door(page: Path) -> None:
    """A call in the text of a page, such as a function that a setting takes."""
    called = set(CALLED.findall(page.read_text(encoding="utf-8"))) & made_here()
    assert (
        called <= {*mcpcore._HOMES, *dir(mcpcore), *types._HOMES, *dir(mcpcore.errors)} | OF_OTHERS
    )


ALIAS = re.compile(r"import (\w+) as \1$", re.MULTILINE)
DOORWAYS = {"mcpcore/errors.py"}
"""Modules beside those of packages that hand on names of others."""


def test_a_name_has_one_home() -> None:
    """No module hands on what another one makes, so that there are two ways to import it."""
    handed_on = {
        str(path.relative_to(ROOT))
        for folder in ("mcpcore", "transports/mcpcore_transports")
        for path in (ROOT / folder).rglob("[!_]*.py")
        if ALIAS.search(path.read_text(encoding="utf-8"))
    }
    assert handed_on == DOORWAYS


def behind(source: str) -> list[str]:
    """Names that a program imports from elsewhere than the door that has them."""
    found = []
    for node in ast.walk(ast.parse(source)):
        module = str(node.module) if isinstance(node, ast.ImportFrom) else ""
        if not isinstance(node, ast.ImportFrom) or module in DOORS:
            continue
        if IMPORT.match(f"from {module}"):
            home = importlib.import_module(module)
            found += [
                f"{module}.{alias.name}"
                for alias in node.names
                for door in (mcpcore, mcpcore.types)
                if alias.name in dir(door)
                and getattr(door, alias.name) is getattr(home, alias.name)
            ]
    return found


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_programs_use_the_front_door(program: Path) -> None:
    assert behind(program.read_text(encoding="utf-8")) == []


def test_a_way_round_the_front_door_is_found() -> None:
    assert IMPORT.findall(
        "from mcpcore.http.messages import HttpSend\nimport mcpcore.service\n"
    ) == [
        "mcpcore.http.messages",
        "mcpcore.service",
    ]
    assert IMPORT.findall("from mcpcore_conformance.kit import x\nfrom mcpcore import run") == [
        "mcpcore"
    ]
    assert behind("from mcpcore_transports.serve.serve import run, ungrouped") == [
        "mcpcore_transports.serve.serve.run"
    ]
