"""``python -m conformance.demo``: what this project is, shown in about three minutes.

First the official SDK's client and server talk with ours; then its client and ours sign in at a
protected server; then the conformance kit plays its cases against our server and our client over
three bindings, and ends with the matrix.  Exits with 1 if anything fails.
"""

import argparse
import sys
from collections.abc import Sequence
from time import monotonic

from rich.console import Console

from conformance.demo import authorization, kit, peers

QUICK = 180
"""Seconds that are enough on two quiet cores."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; it has no options."""
    argparse.ArgumentParser(prog="python -m conformance.demo", description=__doc__).parse_args(
        arguments
    )
    console = Console()
    if not peers.SDK.python.exists():
        print("the official SDK is not installed: run `make demo` or `make sdk`", file=sys.stderr)
        return 2
    began = monotonic()
    failed = peers.talk(console) + authorization.sign_in(console)
    bad, interrupted = kit.play(console)
    console.print(told(monotonic() - began), highlight=False, soft_wrap=True)
    if interrupted:
        return 130
    return 1 if failed or bad else 0


def told(seconds: float) -> str:
    """How long it took, and why if that was long."""
    said = f"the demonstration took {seconds:.0f} s"
    if seconds <= QUICK:
        return said
    return f"{said}; on two quiet cores it takes less than {QUICK} s, beside other work longer"


if __name__ == "__main__":
    sys.exit(main())
