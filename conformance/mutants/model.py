"""What a mutant is, and how the tables of each page write one down."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Generic, TypeVar

from msgspec import Struct, structs

from conformance.mutants.client_fault import ClientBreaks, ClientFault
from conformance.mutants.fault import Breaks, Fault
from mcpcore.spec.revisions import BY_NAME, REVISIONS, Span
from mcpcore_conformance.kit.model import ALL, Binding
from mcpcore_conformance.run.registry import all_cases

Broken = TypeVar("Broken", Fault, ClientFault)


def until(last: str) -> Span:
    """All revisions up to this one."""
    return Span(REVISIONS[0], BY_NAME[last])


class Mutant(Struct, frozen=True, kw_only=True):
    """A program with one thing broken."""

    id: str
    """``page/slug``."""
    kills: tuple[str, ...]
    """The cases that have to notice it: failed, weak or informational, as their strength says."""
    summary: str
    """What is broken."""
    fault: Breaks | None = None
    """Edits the traffic of our reference server ..."""
    client_fault: ClientBreaks | None = None
    """... or that of our reference client ..."""
    command: Sequence[str] = ()
    """... or a program of its own takes its place, for what a process does: arguments of Python."""
    revisions: Span = ALL
    """Those in which it is something broken, and the cases that it kills are there to notice."""
    binding: Binding | None = None
    """By default the first of memory (servers), HTTP, stdio, WebSocket, SSE that the case has."""


class Named(Generic[Broken]):
    """A mutant of which the name and the cases are written down, and what is broken follows."""

    def __init__(self, mutants: list[Mutant], named: Mutant, side: str) -> None:
        self._mutants, self._named, self._side = mutants, named, side

    def does(
        self,
        summary: str,
        fault: Callable[[], Broken] | None = None,
        *,
        command: Sequence[str] = (),
    ) -> None:
        """Write down what is broken, and the fault or the program that breaks it."""
        broken = {"summary": summary, self._side: fault, "command": command}
        self._mutants.append(structs.replace(self._named, **broken))

    def __call__(self, fault: type[Broken]) -> type[Broken]:
        """Decorate a fault of this mutant alone; its docstring begins with what is broken."""
        self.does(" ".join((fault.__doc__ or "").partition("\n\n")[0].split()), fault)
        return fault


class Table:
    """The mutants of one page."""

    def __init__(self, page: str) -> None:
        self.page = page
        self.mutants: list[Mutant] = []

    def server(
        self, slug: str, *kills: str, revisions: Span = ALL, binding: Binding | None = None
    ) -> Named[Fault]:
        """Name a mutant of our server.

        ``kills``: slugs of cases of this page (``section/slug`` where it has one twice).
        """
        mutant = self._mutant(slug, kills, revisions, binding)
        return Named(self.mutants, mutant, "fault")

    def client(
        self, slug: str, *kills: str, revisions: Span = ALL, binding: Binding | None = None
    ) -> Named[ClientFault]:
        """Name a mutant of our client, as :meth:`server`; its id begins with ``client-``.

        The slugs of cases are without their ``client-``.
        """
        names = (name if "/" in name else f"client-{name}" for name in kills)
        mutant = self._mutant(f"client-{slug}", names, revisions, binding)
        return Named(self.mutants, mutant, "client_fault")

    def _mutant(
        self, slug: str, kills: Iterable[str], revisions: Span, binding: Binding | None
    ) -> Mutant:
        return Mutant(
            id=f"{self.page}/{slug}",
            kills=tuple(map(self._case, kills)),
            summary="",
            revisions=revisions,
            binding=binding,
        )

    def _case(self, name: str) -> str:
        """The id of a case; what is none of this page, by its slug, will be found to be none."""
        if name.startswith(self.page):
            return name
        found = [] if "/" in name else _by_slug().get((self.page, name), [])
        return found[0] if len(found) == 1 else f"{self.page}/{name}"


@cache
def _by_slug() -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for case in all_cases():
        found.setdefault((case.page, case.id.rpartition("/")[2]), []).append(case.id)
    return found
