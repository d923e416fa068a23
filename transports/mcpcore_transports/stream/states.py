"""State tables of a StreamConnection.

Four machines: the *life* of a connection, which its ``run()`` moves; its *shutdown*, which anything
may begin at any time; the *reading half* and the *writing half*.  A pair that is not in a table is
a mistake of the driver.  The diagrams in ``docs/reference/protocol.md`` are generated from these
tables.
"""

from mcpcore.engine.lifecycle import State, Table


class Life(State):
    """States of a connection, moved by its ``run()``."""

    NEW = "new"
    RUNNING = "running"
    DRAINING = "draining"
    """Shutdown has begun: running requests and unsent output have a limited time."""
    ENDING = "ending"
    """The conversation is over: the application gets its last events."""
    ENDED = "ended"


class LifeSignal(State):
    """Signals that move the life of a connection."""

    RUN = "run"
    DRAIN = "shutdown begun"
    FINISH = "drained, failed or cancelled"
    CLOSE = "closed"


class Shutdown(State):
    """States of the end of a connection."""

    NONE = "none"
    GRACEFUL = "graceful"
    """Running requests may be answered."""
    COMPLETE = "complete"
    """There is nothing to wait for, or no time."""


class ShutdownSignal(State):
    """Signals that move the end of a connection."""

    STOP = "end of input, of the conversation, or by this side"
    ABORT = "connection lost or broken off"
    DRAINED = "nothing left to wait for"


class Reading(State):
    """States of the reading half: whether input is taken in and its events are handled."""

    OPEN = "open"
    HELD = "held"
    """Events wait for the writer task, which has a response to write."""
    YIELDING = "yielding"
    """Events wait until other connections have had their turn."""


class ReadingSignal(State):
    """Signals that move the reading half."""

    HOLD = "response not yet written"
    YIELD = "share of the turn used up"
    RESUME = "next turn"


class Writing(State):
    """States of the writing half."""

    READY = "ready"
    BLOCKED = "blocked"
    """The writer task owns the output that the connection did not take at once."""
    BROKEN = "broken"
    """Output can no longer be written; it is dropped."""


class WritingSignal(State):
    """Signals that move the writing half."""

    BLOCK = "not all was taken at once"
    WRITTEN = "all written"
    FAIL = "write failed or stalled"


LIFE: Table[Life, LifeSignal] = {
    (Life.NEW, LifeSignal.RUN): Life.RUNNING,
    (Life.RUNNING, LifeSignal.DRAIN): Life.DRAINING,
    (Life.RUNNING, LifeSignal.FINISH): Life.ENDING,
    (Life.DRAINING, LifeSignal.FINISH): Life.ENDING,
    (Life.ENDING, LifeSignal.CLOSE): Life.ENDED,
}

AT_WORK = (Life.RUNNING, Life.DRAINING)

SHUTDOWN: Table[Shutdown, ShutdownSignal] = {
    (Shutdown.NONE, ShutdownSignal.STOP): Shutdown.GRACEFUL,
    (Shutdown.NONE, ShutdownSignal.ABORT): Shutdown.COMPLETE,
    (Shutdown.GRACEFUL, ShutdownSignal.STOP): Shutdown.GRACEFUL,
    (Shutdown.GRACEFUL, ShutdownSignal.ABORT): Shutdown.COMPLETE,
    (Shutdown.GRACEFUL, ShutdownSignal.DRAINED): Shutdown.COMPLETE,
    (Shutdown.COMPLETE, ShutdownSignal.STOP): Shutdown.COMPLETE,
    (Shutdown.COMPLETE, ShutdownSignal.ABORT): Shutdown.COMPLETE,
}

READING: Table[Reading, ReadingSignal] = {
    (Reading.OPEN, ReadingSignal.HOLD): Reading.HELD,
    (Reading.OPEN, ReadingSignal.YIELD): Reading.YIELDING,
    (Reading.HELD, ReadingSignal.RESUME): Reading.OPEN,
    (Reading.YIELDING, ReadingSignal.RESUME): Reading.OPEN,
}

WRITING: Table[Writing, WritingSignal] = {
    (Writing.READY, WritingSignal.BLOCK): Writing.BLOCKED,
    (Writing.READY, WritingSignal.FAIL): Writing.BROKEN,
    (Writing.BLOCKED, WritingSignal.WRITTEN): Writing.READY,
    (Writing.BLOCKED, WritingSignal.FAIL): Writing.BROKEN,
    (Writing.BROKEN, WritingSignal.FAIL): Writing.BROKEN,
}

DIAGRAMS = (
    ("Connection", "One connection of a byte stream, moved by its `run()`.", LIFE),
    ("Shutdown", "The end of such a connection, begun by anything, at any time.", SHUTDOWN),
    ("Reading half", "Whether events of such a connection are handled.", READING),
    ("Writing half", "Whether output of such a connection is written.", WRITING),
)
"""Title, text and table of each diagram."""
