"""The peak of a server's resident memory while it works on large requests."""

from mcpcore_bench.load.asks import FIRST, Question, Verifier
from mcpcore_bench.load.http_calls import Caller, ring, taking_turns
from mcpcore_bench.load.http_wire import Place, Replies, asking
from mcpcore_bench.load.jobs import Ask, Peak
from mcpcore_bench.load.server import listening, peak, reset_peak, resident
from mcpcore_bench.method.samples import Sample

_BEFORE = 20


def measure(job: Peak) -> Sample:
    """Run the job: the rise of the peak, as a multiple of request and reply together."""
    with listening(job.server) as (process, url):
        place = Place.of(url)
        small, large = Question(Ask(), "modern"), Question(Ask("echo", job.size), "modern")
        with place.connect() as connection:
            replies = Replies(connection)
            requests = ring(asking(place, small, "json", None), FIRST, _BEFORE)
            caller = Caller(connection, replies, taking_turns(requests, [Verifier(small)]))
            for _ in range(_BEFORE):
                caller.call()
            before = resident(process)
            reset_peak(process)
            requests = ring(asking(place, large, "json", None), FIRST, 2)
            big = Caller(connection, replies, taking_turns(requests, [Verifier(large)]))
            for _ in range(job.calls):
                big.call()
            rise = peak(process) - before
    return Sample(value=rise / (2 * job.size), facts={"bytes": float(rise)})
