"""Every MUST and SHOULD of the five revisions, one line each in ``clauses.txt``.

A rule that did not change is one row over several revisions.  Tests name the rows that they prove
by ``@pytest.mark.requirement("basic/lifecycle/initialize-first")``; ``python -m
mcpcore_conformance.requirements`` reports the coverage.
"""

from importlib.resources import files

from mcpcore_conformance.requirements.model import Duty, Requirement, Side, Strength, read_clauses

__all__ = ["REQUIREMENTS", "Duty", "Requirement", "Side", "Strength"]

REQUIREMENTS: tuple[Requirement, ...] = read_clauses(
    files(__name__).joinpath("clauses.txt").read_text("utf-8")
)
"""All rows, by page."""
