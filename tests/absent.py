"""What a test needs and this machine does not have."""

import os
from typing import NoReturn

import pytest


def absent(what: str, target: str = "ci-tools") -> NoReturn:
    """Skip the test, as ``make TARGET`` has not installed something; fail it under CI."""
    reason = f"{what} is not installed (make {target} installs it)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
