"""Mutants of streams that a server opens to be polled."""

from collections.abc import Iterable

from conformance.mutants.basic_transports_resumption import resumes
from conformance.mutants.fault import Fault
from conformance.mutants.http_faults import refuses
from conformance.mutants.model import Table
from mcpcore_conformance.kit.heard import Event, Heard

table = Table("basic/transports")


class _Unprimed(Fault):
    def heard(self, heard: Heard) -> Iterable[Heard]:
        empty = isinstance(heard, Event) and not heard.comment and not heard.data
        return () if empty else (heard,)


class _PrimedWithData(Fault):
    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Event) and not heard.comment:
            heard.name, heard.data = "prime", b"{}"
        return (heard,)


class _SaysNoTime(Fault):
    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Event):
            heard.retry = None
        return (heard,)


table.add(
    "unprimed",
    "sending-messages-to-the-server/priming",
    "Opens its streams with the first message.",
    _Unprimed,
)
table.add(
    "primed-with-data",
    "sending-messages-to-the-server/priming",
    "Puts data into the first event of a stream.",
    _PrimedWithData,
)
table.add(
    "no-retry",
    "sending-messages-to-the-server/retry-before-closing",
    "Closes connections without saying when to come back.",
    _SaysNoTime,
)
table.add(
    "does-not-take-back",
    "sending-messages-to-the-server/polling",
    "Does not know streams whose connection it has closed.",
    refuses(resumes, 404),
)
