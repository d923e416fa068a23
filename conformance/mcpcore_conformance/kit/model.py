"""Definition of a case: a clause, the programs for which it holds, and a dialogue that tests it."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from inspect import Parameter, isawaitable, signature
from itertools import groupby
from typing import Any, TypedDict, TypeVar, Unpack

from msgspec import Struct

from mcpcore.spec.revisions import BY_NAME, LATEST, LATEST_LEGACY, REVISIONS, Revision, Span
from mcpcore_conformance.kit.clauses import clause_in

SPECIFICATION = "https://modelcontextprotocol.io/specification"
RFC_EDITOR = "https://www.rfc-editor.org/rfc"
EXTENSIONS = "https://github.com/modelcontextprotocol/ext-{0}/blob/main/specification/draft/{0}.md"
AUTHORIZATION = (
    "https://github.com/modelcontextprotocol/ext-auth/blob/main/specification/draft/{}.mdx"
)
SKILLS = "https://github.com/modelcontextprotocol/ext-skills/blob/main/specification/stable/{}.mdx"
APPS = "https://github.com/modelcontextprotocol/ext-apps/blob/main/specification/2026-01-26/{}.mdx"
OWN, RFC, EXTENSION = "docs/", "rfc", "extensions/"
"""Prefixes of the names of pages that are not the specification's."""

ALL = Span(REVISIONS[0], LATEST)
LEGACY = Span(REVISIONS[0], LATEST_LEGACY)
MODERN = Span(LATEST, LATEST)
SINCE_2025_03_26 = Span(BY_NAME["2025-03-26"], LATEST)
SINCE_2025_06_18 = Span(BY_NAME["2025-06-18"], LATEST)
SINCE_2025_11_25 = Span(BY_NAME["2025-11-25"], LATEST)
LEGACY_SINCE_2025_03_26 = Span(BY_NAME["2025-03-26"], LATEST_LEGACY)
LEGACY_SINCE_2025_06_18 = Span(BY_NAME["2025-06-18"], LATEST_LEGACY)
UNTIL_2025_03_26 = Span(REVISIONS[0], BY_NAME["2025-03-26"])
ONLY_2024_11_05 = Span(REVISIONS[0], REVISIONS[0])
ONLY_2025_03_26 = Span(BY_NAME["2025-03-26"], BY_NAME["2025-03-26"])
ONLY_2025_06_18 = Span(BY_NAME["2025-06-18"], BY_NAME["2025-06-18"])
ONLY_2025_11_25 = Span(LATEST_LEGACY, LATEST_LEGACY)


class Strength(StrEnum):
    """Strength of a clause; MUST NOT is MUST, SHOULD NOT is SHOULD."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


MUST, SHOULD, MAY = Strength.MUST, Strength.SHOULD, Strength.MAY


class Side(StrEnum):
    """Side of a conversation that is tested."""

    SERVER = "server"
    CLIENT = "client"


class Binding(StrEnum):
    """Transport of messages."""

    STDIO = "stdio"
    HTTP = "http"
    """Streamable HTTP."""
    WS = "ws"
    SSE = "sse"
    """HTTP+SSE of 2024-11-05."""
    TCP = "tcp"
    UNIX = "unix"
    MEMORY = "memory"
    """A server or client object of this process."""
    CORE = "core"
    """The sans-IO core of this project, on virtual time."""


FIXTURES = ("tool:", "prompt:", "resource:", "template:", "scenario:")
"""Prefixes of needs that name an object which only a program for tests has."""
OTHER_PRINCIPAL = "kit:other-header"
"""A case needs that the kit was given the credentials of a second principal."""
PROTECTED = "kit:protected"
"""A case needs that the server was told the kit's authorization server."""

EVERY = frozenset(Binding)
STREAMABLE = frozenset({Binding.HTTP})
STDIO = frozenset({Binding.STDIO})
WEBSOCKET = frozenset({Binding.WS})
LEGACY_SSE = frozenset({Binding.SSE})
LINES = frozenset({Binding.STDIO, Binding.TCP, Binding.UNIX, Binding.MEMORY, Binding.CORE})
"""Bindings that separate messages by newlines."""
ONE_CHANNEL = EVERY - {Binding.HTTP}
"""Bindings on which all messages of a conversation share one ordered channel to the client."""


class Verdict(StrEnum):
    """Verdict of a case."""

    PASSED = "passed"
    FAILED = "failed"
    WEAK = "weak"
    """A SHOULD is not met."""
    INFORMATIONAL = "informational"
    """Fact worth knowing; no side is wrong."""
    NOT_APPLICABLE = "not applicable"
    """The revision is not spoken, the capability is not declared, the fixture is not there."""
    INCONCLUSIVE = "inconclusive"
    """Verdict that could not be found; the detail says why."""


class Case(Struct, frozen=True, kw_only=True):
    """Clause and the dialogue that tests it."""

    id: str
    """``page/section/slug``; stable."""
    page: str
    section: str
    """Anchor of the section of the page."""
    strength: Strength
    revisions: Span
    side: Side
    bindings: frozenset[Binding] = EVERY
    needs: tuple[str, ...] = ()
    """Capabilities (``tools``, ``resources.subscribe``) and fixtures (``tool:NAME``,
    ``prompt:NAME``, ``resource:URI``, for clients ``scenario:NAME``) without which the case does
    not apply, what is found by trying (``found:NAME``), methods that the server may not know
    (``method:NAME``), and options of the kit (``kit:NAME``)."""
    summary: str
    """Subject of the test, in one line."""
    expects: str
    """Behaviour of a conforming program."""
    scenario: str = ""
    """Clients only: scenario that the client is asked to play."""
    context: dict[str, Any] = {}
    """Clients only: details of the scenario."""
    play: Callable[[Any], Awaitable[None]]
    bare: bool = False
    """True if the case needs nothing that a look at the program finds out, so that it is played
    also where the program was heard and the look came to nothing."""

    @property
    def clause(self) -> str:
        """Page and section, with the newest revision that has the clause."""
        return self.clause_in(self.revisions.last.name)

    @property
    def fixtures(self) -> tuple[str, ...]:
        """Needs by a name, which only a program for tests has."""
        return tuple(need for need in self.needs if need.startswith(FIXTURES))

    @property
    def link(self) -> str:
        """Link to the text of the clause."""
        return self.link_in(self.revisions.last.name)

    def clause_in(self, revision: str) -> str:
        """Page and section of the clause as a revision has them."""
        if self.page.startswith((OWN, RFC, EXTENSION)):
            return f"{self.page}#{self.section}"
        return clause_in(self.page, self.section, BY_NAME[revision])

    def link_in(self, revision: str) -> str:
        """Return the link to the text: a specification, an RFC, or this project's own rules."""
        if self.page.startswith(OWN):
            return f"docs/how-to/{self.page.removeprefix(OWN)}.md#{self.section}"
        if self.page.startswith(RFC):
            return f"{RFC_EDITOR}/{self.page}#{self.section}"
        if self.page.startswith(EXTENSION):
            repository, _, page = self.page.removeprefix(EXTENSION).rpartition("/")
            own = {"auth": AUTHORIZATION, "skills": SKILLS, "apps": APPS}
            made = own.get(repository or page, EXTENSIONS)
            return f"{made.format(page)}#{self.section}"
        return f"{SPECIFICATION}/{self.clause_in(revision)}"

    def holds_in(self, revision: Revision) -> bool:
        """Return True if the clause is one of that revision."""
        return revision in self.revisions


class Result(Struct, kw_only=True):
    """Result of one case on one binding in one revision."""

    case: Case
    revision: str
    binding: Binding
    verdict: Verdict
    detail: str = ""
    """Why, in one or two sentences."""
    flaw: str = ""
    """Flaw of the program (:class:`~mcpcore_conformance.kit.verdicts.Broken`)."""
    faulty: bool = False
    """The case itself failed: whatever the verdict, the fault is the kit's."""
    notes: list[str] = []
    """Other observations."""
    transcript: list["Line"] = []
    """Lines of the dialogue, oldest first; secrets are left out when it is shown."""
    seconds: float = 0.0
    started: float = 0.0
    """Wall-clock time at which the case began, in seconds since 1970 UTC."""


class Line(Struct):
    """Line of a dialogue's transcript."""

    at: float
    """Seconds since the case began; less than 0: before it, when the connection was opened."""
    sent: bool
    """By the kit."""
    wire: int
    """Number of the connection within the case, from 1."""
    exchange: int
    """Number of the HTTP exchange on the wire; 0 where there is one channel."""
    kind: str
    """``message``, ``head``, ``end``, ``bytes``, ``close``, ``note``."""
    data: bytes
    cut: int = 0
    """Bytes at its end that were not kept."""


Play = TypeVar("Play", bound=Callable[..., Awaitable[None]])
"""A dialogue.

A parameter ``Annotated`` with a function is given what that returns for the talk; parameters beside
one another that name the same function share a tuple of it.  Any other parameter is the talk.
"""


class Traits(TypedDict, total=False):
    """Members of :class:`Case` that cases of a page mostly have in common."""

    bindings: frozenset[Binding]
    needs: tuple[str, ...]
    bare: bool
    scenario: str
    context: dict[str, Any]
    summary: str


class Page:
    """The cases of one page of the specification; ``cases`` lists them in order of writing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cases: list[Case] = []

    def server(self, revisions: Span = ALL, **common: Unpack[Traits]) -> "Cases":
        """Cases for servers."""
        return Cases(self, Side.SERVER, revisions, common)

    def client(self, revisions: Span = ALL, **common: Unpack[Traits]) -> "Cases":
        """Cases for clients, which play the scenario ``tools_call`` if no other is named."""
        return Cases(self, Side.CLIENT, revisions, {"scenario": "tools_call", **common})


class Cases:
    """Cases of one side on a page, with what holds for those that do not say otherwise.

    Each method makes a dialogue the case of ``section/slug``.  Its name is the slug (of clients
    behind ``client-``) where the place is a section alone, its docstring the summary where none is
    given.
    """

    def __init__(self, page: Page, side: Side, revisions: Span, common: Traits) -> None:
        self._page = page
        self._side = side
        self._revisions = revisions
        self._common = common

    def must(
        self, place: str, expects: str, revisions: Span | None = None, **traits: Unpack[Traits]
    ) -> Callable[[Play], Play]:
        """Add the case of a MUST or MUST NOT.  Raises ValueError for want of a name or summary."""
        return self.of(Strength.MUST, place, expects, revisions, **traits)

    def should(
        self, place: str, expects: str, revisions: Span | None = None, **traits: Unpack[Traits]
    ) -> Callable[[Play], Play]:
        """Add the case of a SHOULD, as :meth:`must`."""
        return self.of(Strength.SHOULD, place, expects, revisions, **traits)

    def may(
        self, place: str, expects: str, revisions: Span | None = None, **traits: Unpack[Traits]
    ) -> Callable[[Play], Play]:
        """Add the case of a MAY, as :meth:`must`."""
        return self.of(Strength.MAY, place, expects, revisions, **traits)

    def of(
        self,
        strength: Strength,
        place: str,
        expects: str,
        revisions: Span | None = None,
        **traits: Unpack[Traits],
    ) -> Callable[[Play], Play]:
        """Add the case of a clause of any strength, as :meth:`must`."""

        def add(play: Play) -> Play:
            section, _, slug = place.partition("/")
            slug = slug or self._slug(play)
            summed = (play.__doc__ or "").strip().partition("\n")[0]
            made: Traits = {"summary": summed, **self._common, **traits}
            if not section or not slug or not made["summary"]:
                raise ValueError(f"a case needs a section, a name and a docstring: {place!r}")
            case = Case(
                id=f"{self._page.name}/{section}/{slug}",
                page=self._page.name,
                section=section,
                strength=strength,
                revisions=revisions or self._revisions,
                side=self._side,
                expects=expects,
                play=_provided(play),
                **made,
            )
            self._page.cases.append(case)
            return play

        return add

    def at(self, section: str) -> "Section":
        """Those of one section."""
        return Section(self, section)

    def _slug(self, play: Callable[..., Awaitable[None]]) -> str:
        name = getattr(play, "__name__", "").replace("_", "-")
        return f"client-{name}" if name and self._side is Side.CLIENT else name


class Section:
    """Cases of one section: those of :class:`Cases` without their place."""

    def __init__(self, cases: Cases, name: str) -> None:
        self._cases = cases
        self._name = name

    def must(
        self, expects: str, revisions: Span | None = None, **traits: Unpack[Traits]
    ) -> Callable[[Play], Play]:
        """Add the case of a MUST or MUST NOT."""
        return self._cases.must(self._name, expects, revisions, **traits)

    def should(
        self, expects: str, revisions: Span | None = None, **traits: Unpack[Traits]
    ) -> Callable[[Play], Play]:
        """Add the case of a SHOULD."""
        return self._cases.should(self._name, expects, revisions, **traits)

    def may(
        self, expects: str, revisions: Span | None = None, **traits: Unpack[Traits]
    ) -> Callable[[Play], Play]:
        """Add the case of a MAY."""
        return self._cases.may(self._name, expects, revisions, **traits)


def _provided(play: Callable[..., Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """A dialogue that takes a talk, and gives it to the functions that its parameters name."""
    named = [
        getattr(each.annotation, "__metadata__", (None,))[0]
        for each in signature(play).parameters.values()
        if each.default is Parameter.empty
    ]
    sources = [(source, len([*same])) for source, same in groupby(named)]

    async def provided(talk: Any) -> None:
        given: list[Any] = []
        for source, count in sources:
            found = talk if source is None else source(talk)
            found = await found if isawaitable(found) else found
            given += [found] if count == 1 else found
        await play(*given)

    return provided
