"""Delays between attempts: growing with each attempt, and spread by chance."""


class Chance:
    """Generator of fractions in [0, 1): fixed by its seed, and always 0 without one."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed[:64]
        self._count = 0

    def next(self) -> float:
        """Return the next fraction."""
        if not self._seed:
            return 0.0
        from hashlib import blake2b  # imported late: most programs never need it

        self._count += 1
        digest = blake2b(b"%d" % self._count, key=self._seed, digest_size=6).digest()
        return int.from_bytes(digest) / 2**48


def grown(first: float, growth: float, attempt: int, longest: float) -> float:
    """Return the delay before an attempt (from 1), growing from ``first`` up to ``longest``."""
    delay = first
    for _ in range(attempt - 1):
        if not 0 < delay < longest or growth <= 1:
            break
        delay *= growth
    return min(delay, longest)
