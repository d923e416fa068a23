"""What is told of errors that are masked: the text, and the id by which the log has them."""

import re

_ID = re.compile(r" \(error id ([0-9a-f]{8})\)")


def without_id(text: str) -> str:
    """The text without the id, which differs each time."""
    return _ID.sub("", text)


def id_of(text: str) -> str:
    """The only id that the text names."""
    (made,) = set(_ID.findall(text))
    return str(made)
