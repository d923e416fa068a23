"""The peak of a server's resident memory while it works on large requests."""

from benchmarks.load.asks import FIRST, Question, Verifier
from benchmarks.load.http_calls import Caller, ring
from benchmarks.load.http_wire import Place, asking
from benchmarks.load.jobs import Ask, Peak
from benchmarks.load.server import listening, peak, reset_peak, resident
from benchmarks.method.samples import Sample

_BEFORE = 20


def measure(job: Peak) -> Sample:
    """Run the job: the rise of the peak, as a multiple of request and reply together."""
    with listening(job.server) as (process, url):
        place = Place.of(url)
        small, large = Question(Ask(), "modern"), Question(Ask("echo", job.size), "modern")
        with place.connect() as connection:
            caller = Caller(
                connection,
                [Verifier(small)],
                ring(asking(place, small, "json", None), FIRST, _BEFORE),
            )
            for _ in range(_BEFORE):
                caller.call()
            before = resident(process)
            reset_peak(process)
            big = Caller(
                connection, [Verifier(large)], ring(asking(place, large, "json", None), FIRST, 2)
            )
            for _ in range(job.calls):
                big.call()
            rise = peak(process) - before
    return Sample(value=rise / (2 * job.size), facts={"bytes": float(rise)})
