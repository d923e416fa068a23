"""Report how the requirements are covered: ``python -m mcpcore_conformance.requirements``.

``--show ID`` prints the tests of one requirement in the form that pytest takes.
"""

import argparse
import sys
from pathlib import Path

from mcpcore_conformance.requirements import REQUIREMENTS
from mcpcore_conformance.requirements.evidence import MarkerError, collect
from mcpcore_conformance.requirements.report import coverage, markdown, problems


def main(arguments: list[str] | None = None) -> int:
    """Print the coverage per revision and what is wrong; 1 if something is."""
    parser = argparse.ArgumentParser(
        prog="python -m mcpcore_conformance.requirements",
        description="Coverage of the specification's requirements by tests.",
    )
    parser.add_argument("--tests", type=Path, default=Path("tests"), help="folder of the tests")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the whole report there")
    parser.add_argument(
        "--check", type=Path, metavar="FILE", help="fail if the report there is out of date"
    )
    parser.add_argument("--show", metavar="ID", help="print the tests that prove a requirement")
    options = parser.parse_args(arguments)
    if not options.tests.is_dir():
        parser.error(f"no such folder: {options.tests}")
    if options.show is not None and all(row.id != options.show for row in REQUIREMENTS):
        parser.error(f"no such requirement: {options.show}")
    try:
        evidence = collect(options.tests)
    except MarkerError as error:
        print(error, file=sys.stderr)
        return 1
    if options.show is not None:
        for claim in evidence:
            if claim.requirement == options.show:
                path = options.tests / claim.path
                print(f"{path}::{claim.test}" if claim.test else path)
        return 0
    tested = {claim.requirement for claim in evidence}
    print(coverage(REQUIREMENTS, tested))
    found = problems(REQUIREMENTS, evidence)
    report = markdown(REQUIREMENTS, tested)
    if options.write is not None:
        options.write.write_text(report, encoding="utf-8")
    if options.check is not None and report != options.check.read_text(encoding="utf-8"):
        found.append(f"{options.check} is out of date: write it again with --write")
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
