"""Ids of errors that a client is not shown: by them what it is told is found in the log."""

import os


def error_id() -> str:
    """Make an id that nobody can guess and that tells nothing."""
    return os.urandom(4).hex()
