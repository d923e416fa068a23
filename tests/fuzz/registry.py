"""The targets by name, each a module of ``tests.fuzz.targets`` and a folder of the corpus."""

import importlib
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct, structs

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
CONVERSATIONS = frozenset(
    {"http_client", "http_server", "peer_client", "peer_server", "stored_server"}
)
STREAMS = frozenset({"http_client_streams", "http_streams", "websocket", "websocket_client"})
SLOW = CONVERSATIONS | STREAMS
"""Targets whose inputs are many messages each, and take ten times as long as others, or more."""


class Target(Struct, frozen=True):
    """What is fuzzed: it raises, whatever it raises, if a rule does not hold for an input."""

    name: str
    run: Callable[[bytes], int | None]
    """Gives how many messages it has delivered, where it holds conversations."""
    tokens: tuple[bytes, ...]
    """What is put into inputs, as chance would hardly make it."""

    def corpus(self) -> list[bytes]:
        """The inputs that are kept in the tree."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).glob("*"))]


class Counted:
    """Counts the messages that a target delivers."""

    def __init__(self, target: Target) -> None:
        self.messages = 0
        self._run = target.run
        self.target = structs.replace(target, run=self._count)
        """The target, to be run in its place."""

    def _count(self, data: bytes) -> None:
        self.messages += self._run(data) or 0


def names() -> list[str]:
    """The names of all targets."""
    return sorted(path.stem for path in (HERE / "targets").glob("*.py"))


def load(name: str) -> Target:
    """Import a target."""
    module = importlib.import_module(f"tests.fuzz.targets.{name}")
    return Target(name, module.TARGET, module.TOKENS)
