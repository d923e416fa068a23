"""Mutants of streams that a server opens to be polled."""

from collections.abc import Iterable

from conformance.mutants.basic_transports_resumption import resumes
from conformance.mutants.fault import Fault
from conformance.mutants.http_faults import refuses
from conformance.mutants.model import Table
from mcpcore_conformance.kit.heard import Event, Heard

table = Table("basic/transports")


@table.server("unprimed", "sending-messages-to-the-server/priming")
class _Unprimed(Fault):
    """Opens its streams with the first message."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        empty = isinstance(heard, Event) and not heard.comment and not heard.data
        return () if empty else (heard,)


@table.server("primed-with-data", "sending-messages-to-the-server/priming")
class _PrimedWithData(Fault):
    """Puts data into the first event of a stream."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Event) and not heard.comment:
            heard.name, heard.data = "prime", b"{}"
        return (heard,)


@table.server("no-retry", "sending-messages-to-the-server/retry-before-closing")
class _SaysNoTime(Fault):
    """Closes connections without saying when to come back."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Event):
            heard.retry = None
        return (heard,)


table.server("does-not-take-back", "sending-messages-to-the-server/polling").does(
    "Does not know streams whose connection it has closed.", refuses(resumes, 404)
)
