"""How long to wait before something is tried again: longer each time, and never in step."""


class Chance:
    """Fractions in [0, 1) that look random; the same seed gives the same ones, none gives zeros."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed[:64]
        self._count = 0

    def next(self) -> float:
        """Draw one."""
        if not self._seed:
            return 0.0
        from hashlib import blake2b  # here and not above: most programs never come this far

        self._count += 1
        digest = blake2b(b"%d" % self._count, key=self._seed, digest_size=6).digest()
        return int.from_bytes(digest) / 2**48


def grown(first: float, growth: float, attempt: int, longest: float) -> float:
    """The delay before an attempt (from 1), which grows from ``first`` to ``longest``."""
    delay = first
    for _ in range(attempt - 1):
        if not 0 < delay < longest or growth <= 1:
            break
        delay *= growth
    return min(delay, longest)
