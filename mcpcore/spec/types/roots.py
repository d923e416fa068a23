"""Roots: places where the client lets the server work.  Source: the roots page of each revision."""

from msgspec import field

from mcpcore.spec.types.base import Meta, Result
from mcpcore.spec.types.model import Maybe, Model


class Root(Model, kw_only=True):
    """Root: a place, as a ``file://`` URI."""

    uri: str
    name: Maybe[str] = None
    meta: Maybe[Meta] = field(default=None, name="_meta")


class ListRootsResult(Result, kw_only=True):
    """Result of ``roots/list``: all roots."""

    roots: list[Root]
