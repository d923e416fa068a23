"""The targets by name, each a module of ``tests.fuzz.targets`` and a folder of the corpus."""

import importlib
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"


class Target(Struct, frozen=True):
    """What is fuzzed: it raises, whatever it raises, if a rule does not hold for an input."""

    name: str
    run: Callable[[bytes], None]
    tokens: tuple[bytes, ...]
    """What is put into inputs, as chance would hardly make it."""

    def corpus(self) -> list[bytes]:
        """The inputs that are kept in the tree."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).glob("*"))]


def names() -> list[str]:
    """The names of all targets."""
    return sorted(path.stem for path in (HERE / "targets").glob("*.py"))


def load(name: str) -> Target:
    """Import a target."""
    module = importlib.import_module(f"tests.fuzz.targets.{name}")
    return Target(name, module.TARGET, module.TOKENS)
