"""``python -m conformance.demo``: what this project is, shown in less than three minutes.

First the official SDK's client and server talk with ours; then the conformance kit plays its cases
against our server and our client over three bindings, and ends with the matrix.  Exits with 1 if
anything fails.
"""

import sys
from time import monotonic

from rich.console import Console

from conformance.demo import kit, peers


def main() -> int:
    """Run the demonstration."""
    console = Console()
    if not peers.SDK.python.exists():
        print("the official SDK is not installed: run `make demo` or `make sdk`", file=sys.stderr)
        return 2
    began = monotonic()
    failed = peers.talk(console)
    bad, interrupted = kit.play(console)
    console.print(f"the demonstration took {monotonic() - began:.0f} s", highlight=False)
    if interrupted:
        return 130
    return 1 if failed or bad else 0


if __name__ == "__main__":
    sys.exit(main())
