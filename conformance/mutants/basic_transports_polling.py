"""Mutants of streams that a server opens to be polled."""

from conformance.mutants.basic_transports_resumption import resumes
from conformance.mutants.faults import alters, loses
from conformance.mutants.http_faults import refuses
from conformance.mutants.model import Table
from mcpcore_conformance.kit.heard import Event

table = Table("basic/transports")


table.server("unprimed", "sending-messages-to-the-server/priming").does(
    "Opens its streams with the first message.",
    loses(Event, lambda event: not event.comment and not event.data),
)
table.server("primed-with-data", "sending-messages-to-the-server/priming").does(
    "Puts data into the first event of a stream.",
    alters(Event, lambda event: not event.comment, name="prime", data=b"{}"),
)
table.server("no-retry", "sending-messages-to-the-server/retry-before-closing").does(
    "Closes connections without saying when to come back.", alters(Event, retry=None)
)
table.server("does-not-take-back", "sending-messages-to-the-server/polling").does(
    "Does not know streams whose connection it has closed.", refuses(resumes, 404)
)
