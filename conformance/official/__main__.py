"""``python -m conformance.official [--revision R] [--side server|client] [--scenario NAME]``."""

import argparse
import sys
from collections import Counter

from conformance.official import expected, suite
from mcpcore_conformance.launch import LaunchError


def _report(result: suite.Scenario, verdict: expected.Verdict) -> None:
    """Print one scenario, and of a failing one what was not expected."""
    passed, failed = result.counts
    note = "" if result.scored else "  (not scored)"
    if result.name in verdict.expected:
        note += f"  expected: {verdict.expected[result.name]}"
    print(f"  {result.outcome}  {result.name:<52} {passed:>3} passed {failed:>3} failed{note}")
    if result.name in verdict.expected:
        return
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
    known = expected.load()
    results = []
    for result in suite.RUNNERS[side](revision, scenarios):
        results.append(result)
        alone = expected.judge([result], known, side=side, revision=revision)
        _report(result, alone)
        sys.stdout.flush()
    verdict = expected.judge(results, known, side=side, revision=revision)
    if only:  # entries about scenarios that were not run say nothing
        verdict.stale = [name for name in verdict.stale if name.partition(":")[0] in scenarios]
    for kind, chosen in (("scored", True), ("unscored", False)):
        outcomes = Counter(result.outcome for result in results if result.scored is chosen)
        print(
            f"{side} {revision}, {kind}: {outcomes['pass']} of {outcomes.total()} scenarios pass,"
            f" {outcomes['FAIL']} fail, {outcomes['skip']} check nothing"
        )
    for name in verdict.unexpected:
        print(f"  unexpected, it fails or checks nothing: {name}")
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
