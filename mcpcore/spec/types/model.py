"""The base of every type of the protocol."""

from msgspec import Struct


class Model(Struct, rename="camel"):
    """A JSON object: wire names in camel case, absent members ``UNSET`` and never written.

    Subclasses say ``kw_only=True``, which msgspec does not inherit.
    """
