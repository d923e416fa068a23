"""Write the generated pages of docs/reference: ``python -m tests.reference`` (``make reference``).

``--check`` writes nothing, and fails if a page is out of date.
"""

import argparse
import sys
from collections.abc import Sequence

from tests.reference import attacks, command_line, exceptions, protocol, settings
from tests.reference.sources import ROOT

FOLDER = ROOT / "docs" / "reference"
PAGES = {each.NAME: each.render for each in (protocol, exceptions, settings, command_line, attacks)}
NOTE = "\n<!-- Written by `make reference`; its text comes out of the code. -->\n"


def main(words: Sequence[str] | None = None) -> int:
    """Write or check the pages; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if out of date")
    old = [name for name in PAGES if page(name) != read(name)]
    if parser.parse_args(words).check:
        for name in old:
            sys.stderr.write(f"docs/reference/{name} is out of date: make reference\n")
        return bool(old)
    for name in old:
        (FOLDER / name).write_text(page(name), encoding="utf-8")
        sys.stdout.write(f"docs/reference/{name}\n")
    return 0


def page(name: str) -> str:
    """Return a page as the code has it."""
    title, _, rest = PAGES[name]().rstrip("\n").partition("\n")
    return f"{title}\n{NOTE}{rest}\n"


def read(name: str) -> str | None:
    """Return a page as it is in the folder, None if there is none."""
    path = FOLDER / name
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
