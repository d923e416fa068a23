"""``python -m conformance.official [--revision R] [--side server|client] [--scenario NAME]``."""

import argparse
import sys

from conformance.launch import LaunchError
from conformance.official import expected, suite


def _line(result: suite.Scenario) -> str:
    passed, failed = result.counts
    mark = "pass" if result.passed else "FAIL"
    note = "" if result.scored else "  (not scored)"
    return f"  {mark}  {result.name:<52} {passed:>3} passed {failed:>3} failed{note}"


def _explain(result: suite.Scenario) -> None:
    if result.problem is not None:
        print(f"          could not run: {result.problem}")
    for check in result.failures:
        print(f"          {check.status} {check.id}: {check.error_message or check.description}")


def run(side: str, revision: str, only: list[str]) -> bool:
    """Run one requirement set, print it, and say whether it went as expected."""
    scenarios = suite.requirements(revision, side)
    if only:
        scenarios = {name: scored for name, scored in scenarios.items() if name in only}
        if not scenarios:
            return True
    print(f"\n{side}, requirements of {revision}: {len(scenarios)} scenarios", flush=True)
    results = []
    for result in suite.RUNNERS[side](revision, scenarios):
        results.append(result)
        print(_line(result), flush=True)
        _explain(result)
    verdict = expected.judge(results, expected.load(), side=side, revision=revision)
    if only:  # entries about scenarios that were not run say nothing
        verdict.stale = [name for name in verdict.stale if name.partition(":")[0] in scenarios]
    scored = [result for result in results if result.scored]
    print(
        f"{side} {revision}: {sum(r.passed for r in scored)} of {len(scored)} scored scenarios"
        f" pass, {sum(r.passed for r in results if not r.scored)} of"
        f" {len(results) - len(scored)} unscored; {len(verdict.expected)} expected failures"
    )
    for name in verdict.unexpected:
        print(f"  unexpected failure: {name}")
    for name in verdict.stale:
        print(f"  passes or is gone, remove it from {expected.EXPECTED_FILE.name}: {name}")
    return verdict.ok


def main() -> int:
    """Run what the command line selects; 0 if everything went as expected."""
    parser = argparse.ArgumentParser(prog="python -m conformance.official", description=__doc__)
    parser.add_argument("--revision", choices=suite.REVISIONS, action="append")
    parser.add_argument("--side", choices=suite.SIDES, action="append")
    parser.add_argument("--scenario", action="append", default=[], help="only this one")
    chosen = parser.parse_args()
    try:
        suite.require_tools()
        verdicts = [
            run(side, revision, chosen.scenario)
            for side in chosen.side or suite.SIDES
            for revision in chosen.revision or suite.REVISIONS
        ]
    except (suite.ToolsMissing, LaunchError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
