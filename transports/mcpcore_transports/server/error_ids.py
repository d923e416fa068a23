"""Ids of errors that are hidden from a client: the client's message leads to the log by its id."""

import os


def error_id() -> str:
    """Return an unguessable id that reveals nothing."""
    return os.urandom(4).hex()
