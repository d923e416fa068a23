"""Objects that the collector of garbage leaves alone."""

import gc


def at_rest() -> None:
    """Leave alone whatever is there, from now on.

    Nothing wakes it again: it would be with it what pytest has put at rest, thousands of tests that
    every collection would have to look at.
    """
    gc.collect()
    gc.freeze()
