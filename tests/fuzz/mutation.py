"""Inputs out of other inputs, by chance and a seed: what finds faults where nothing guides."""

from collections.abc import Sequence
from random import Random

MAX_SIZE = 4096
"""Bytes of an input, at most."""
_STEPS = (1, 1, 1, 2, 2, 4, 8)
_ODD = (0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x0D, 0x20, 0x22, 0x5C, 0x2C, 0x7B, 0x7D)


class Mutator:
    """Makes inputs out of ``corpus``, and of ``tokens`` that mean something to the target."""

    def __init__(self, random: Random, corpus: Sequence[bytes], tokens: Sequence[bytes]) -> None:
        self._random = random
        self._corpus = list(corpus) or [b""]
        self._tokens = list(tokens) or [b"\0"]

    def next(self) -> bytes:
        """One more input."""
        random = self._random
        if random.random() < 0.05:
            return random.randbytes(random.randrange(256))
        data = bytearray(random.choice(self._corpus))
        for _ in range(random.choice(_STEPS)):
            self._change(data)
        return bytes(data[:MAX_SIZE])

    def _change(self, data: bytearray) -> None:
        random = self._random
        at = random.randrange(len(data) + 1)
        size = 1 + random.randrange(1 << random.randrange(6))
        match random.randrange(9):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1 if at < len(data):
                data[at] = random.choice(_ODD)
            case 2:
                data[at:at] = random.randbytes(size)
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = data[at : at + size]
            case 5:
                other = random.choice(self._corpus)
                start = random.randrange(len(other) + 1)
                data[at:] = other[start:]
            case 6:
                other = random.choice(self._corpus)
                start = random.randrange(len(other) + 1)
                data[at:at] = other[start : start + size]
            case 7:
                token = random.choice(self._tokens)
                data[at : at + len(token) * random.randrange(2)] = token
            case _:
                del data[at:]
