"""The seal of a server that was given none."""

from functools import cached_property

from mcpcore.engine.seal import Binding, Seal


class OwnSeal:
    """The best seal that can be had here, with a key of its own.

    It is made when something is sealed or opened first: most servers never do, and what it takes
    is imported then.
    """

    @cached_property
    def _made(self) -> Seal:
        from transports.seal import make_seal

        return make_seal()

    def seal(self, payload: bytes, binding: Binding, *, wall: float) -> str:
        """See :class:`~mcpcore.engine.seal.Seal`."""
        return self._made.seal(payload, binding, wall=wall)

    def open(self, text: str, binding: Binding, *, wall: float) -> bytes:
        """See :class:`~mcpcore.engine.seal.Seal`."""
        return self._made.open(text, binding, wall=wall)
