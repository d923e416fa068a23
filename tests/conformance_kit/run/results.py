"""Results made by hand, for the tests of what is made of results."""

from collections.abc import Sequence

from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.model import Binding, Case, Line, Page, Result, Side, Strength, Verdict
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.run.plan import Settings, Unit
from mcpcore_conformance.run.run import Run

R1, R2 = "2025-11-25", "2026-07-28"


def case(slug: str = "a/one", strength: Strength = Strength.MUST, page: str = "basic/x") -> Case:
    made = Page(page)

    @made.server().of(strength, slug, "It is as it should be.")
    async def play(talk: ServerTalk) -> None:
        """Something is tested."""

    return made.cases[0]


def result(
    case: Case,
    verdict: Verdict,
    detail: str = "",
    *,
    revision: str = R1,
    binding: Binding = Binding.HTTP,
    transcript: Sequence[Line] = (),
    notes: Sequence[str] = (),
    seconds: float = 0.25,
) -> Result:
    return Result(
        case=case,
        revision=revision,
        binding=binding,
        verdict=verdict,
        detail=detail,
        transcript=[*transcript],
        notes=[*notes],
        seconds=seconds,
    )


def message(data: bytes, sent: bool = False) -> Line:
    return Line(at=0.5, sent=sent, wire=1, exchange=0, kind="message", data=data)


def run_of(*results: Result, target: str = "http://h/mcp", unplayed: Sequence[Case] = ()) -> Run:
    units = [Unit(each.case, BY_NAME[each.revision], each.binding) for each in results]
    units += [Unit(each, BY_NAME[R1], Binding.HTTP) for each in unplayed]
    return Run(
        side=Side.SERVER,
        targets=dict.fromkeys(dict.fromkeys(each.binding for each in units), target),
        settings=Settings(seed=3),
        units=units,
        results=[*results],
        seconds=1.5,
        took={each.binding: 0.75 for each in results},
    )
