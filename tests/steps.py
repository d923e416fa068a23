"""What is done counted in lines of our own code, as no verdict may depend on a clock."""

import sys
from collections.abc import Callable
from typing import Any


def steps_of(work: Callable[[], object], where: str) -> int:
    """Lines that run in files with ``where`` in their path, which is what time is spent on."""
    count = 0

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal count
        if where not in frame.f_code.co_filename:
            return None
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
