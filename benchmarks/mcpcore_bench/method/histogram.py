"""Latencies in log-linear buckets, as HdrHistogram keeps them.

Values up to ``2**(BITS + 1)`` have a bucket each; above, every power of two is cut into
``2**BITS`` buckets.  So a value is known to one part in 128 whatever its size, and a histogram
holds at most some thousand counts, however many values were recorded.
"""

from collections.abc import Iterable, Mapping

BITS = 7
"""Each power of two is cut into 2**BITS buckets."""


def bucket_of(value: int) -> int:
    """The number of the bucket that a value, an integer of at least 0, falls into."""
    shift = max(value.bit_length() - BITS - 1, 0)
    return (shift << BITS) + (value >> shift)


def bounds_of(bucket: int) -> tuple[int, int]:
    """The least and the greatest value of a bucket."""
    shift = max((bucket >> BITS) - 1, 0)
    least = (bucket - (shift << BITS)) << shift
    return least, least + (1 << shift) - 1


class Histogram:
    """Counts of values by bucket; values are integers, here nanoseconds."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        """Begin with the counts of a saved histogram, by default with none."""
        self.counts: dict[int, int] = dict(counts or {})

    def __len__(self) -> int:
        """How many values were recorded."""
        return sum(self.counts.values())

    def record(self, value: int, count: int = 1) -> None:
        """Add a value.  Raises ValueError for one below 0."""
        if value < 0:
            raise ValueError(f"{value} is below 0")
        bucket = bucket_of(value)
        self.counts[bucket] = self.counts.get(bucket, 0) + count

    def record_all(self, values: Iterable[int]) -> None:
        """Add many values."""
        for value in values:
            self.record(value)

    def merge(self, other: "Histogram") -> None:
        """Add what another histogram has counted."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    def percentile(self, share: float) -> int:
        """The greatest value of the bucket below or in which ``share`` per cent of all values lie.

        0 if nothing was recorded.
        """
        total = len(self)
        if not total:
            return 0
        wanted = max(1, -int(-share * total // 100))
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return bounds_of(bucket)[1]
        raise AssertionError("a share above 100 per cent")

    def curve(self) -> list[tuple[float, int]]:
        """For each bucket the share of the values (0 to 100) that do not exceed its greatest."""
        total = len(self)
        points, seen = [], 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            points.append((100 * seen / total, bounds_of(bucket)[1]))
        return points
