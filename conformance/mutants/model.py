"""What a mutant is, and how the tables of each page write one down."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from conformance.mutants.client_fault import ClientFault
from conformance.mutants.faults import Fault
from mcpcore.spec.revisions import BY_NAME, REVISIONS, Span
from mcpcore_conformance.kit.model import ALL, Binding


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
    fault: Callable[[], Fault] | None = None
    """Edits the traffic of our reference server ..."""
    client_fault: Callable[[], ClientFault] | None = None
    """... or that of our reference client ..."""
    command: Sequence[str] = ()
    """... or a program of its own takes its place, for what a process does: arguments of Python."""
    revisions: Span = ALL
    """Those in which it is something broken, and the cases that it kills are there to notice."""
    binding: Binding | None = None
    """By default the first of memory (servers), HTTP, stdio, WebSocket, SSE that the case has."""


class Table:
    """The mutants of one page."""

    def __init__(self, page: str) -> None:
        self.page = page
        self.mutants: list[Mutant] = []

    def add(
        self,
        slug: str,
        kills: str | tuple[str, ...],
        summary: str,
        fault: Callable[[], Fault] | None = None,
        *,
        command: Sequence[str] = (),
        revisions: Span = ALL,
        binding: Binding | None = None,
    ) -> None:
        """Write down a mutant; ``kills`` are ``section/slug`` of this page, or whole ids."""
        self._add(slug, kills, summary, command, revisions, binding, fault=fault)

    def client(
        self,
        slug: str,
        kills: str | tuple[str, ...],
        summary: str,
        fault: Callable[[], ClientFault] | None = None,
        *,
        command: Sequence[str] = (),
        revisions: Span = ALL,
        binding: Binding | None = None,
    ) -> None:
        """Write down a mutant of our client; its id begins with ``client-``."""
        self._add(f"client-{slug}", kills, summary, command, revisions, binding, client_fault=fault)

    def _add(
        self,
        slug: str,
        kills: str | tuple[str, ...],
        summary: str,
        command: Sequence[str],
        revisions: Span,
        binding: Binding | None,
        *,
        fault: Callable[[], Fault] | None = None,
        client_fault: Callable[[], ClientFault] | None = None,
    ) -> None:
        names = (kills,) if isinstance(kills, str) else kills
        self.mutants.append(
            Mutant(
                id=f"{self.page}/{slug}",
                kills=tuple(
                    name if name.startswith(self.page) else f"{self.page}/{name}" for name in names
                ),
                summary=summary,
                fault=fault,
                client_fault=client_fault,
                command=command,
                revisions=revisions,
                binding=binding,
            )
        )
