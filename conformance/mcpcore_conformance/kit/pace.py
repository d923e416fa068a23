"""Response times of a server's offers: a slow offer is not a silent one.

A call that gets no answer in time may have been lost, or may be one of a tool that takes its time.
So what was never seen to be answered in time is asked for once more, as it should be and apart from
all cases: only what answers then can be found to be silent.
"""

from typing import TYPE_CHECKING

import anyio
from msgspec import Struct, field

from mcpcore_conformance.kit.verdicts import Ended

if TYPE_CHECKING:
    from mcpcore_conformance.kit.talk import ServerTalk

Offer = tuple[str, str]
"""Object that a server lists: the method that asks for it, and its name or URI."""
FIXTURE = "test_"
"""Prefix of the official suite's fixtures, whose response times are known."""


class Pace(Struct):
    """Observations so far, the same for all cases of a revision and binding."""

    quick: set[Offer] = field(default_factory=set)
    """Offers that were answered in time, when they were asked for as they should be."""
    slow: dict[Offer, float] = field(default_factory=dict)
    """Offers that were not, and the seconds of the wait."""
    longest: float = 0.0
    """Seconds of the longest wait for an answer that needs no work, with the start of a process."""
    silent: bool = False
    """True if a request had no answer in time."""
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    """Lock of the case that is asking; others wait, and take the result."""

    def answered(self, offer: Offer | None) -> None:
        """Take down what was answered in time."""
        if offer is not None:
            self.quick.add(offer)
            self.slow.pop(offer, None)

    def took(self, offer: Offer | None, seconds: float) -> None:
        """Take down what was not, within so many seconds."""
        if offer is not None and offer not in self.quick and not offer[1].startswith(FIXTURE):
            self.slow[offer] = seconds


async def is_slow(talk: "ServerTalk", offer: Offer) -> bool:
    """Return True if an unanswered offer gets no answer, either, when asked for as it should be."""
    pace = talk.features.pace
    if offer[1].startswith(FIXTURE):
        return False
    async with pace.turn:
        if offer not in pace.quick and offer not in pace.slow:
            if await _answered(talk.apart(), offer):
                pace.answered(offer)
            else:
                pace.took(offer, talk.timing.answer)
    return offer in pace.slow


async def _answered(talk: "ServerTalk", offer: Offer) -> bool:
    """Ask on a conversation of its own; whether anything but silence came of it."""
    try:
        link = await talk.connect()
        if link.revision.handshake:
            await link.initialize()
        sent = await link.send(offer[0], talk.features.params_for(offer))
        reply = await link.reply(sent, talk.timing.answer)
        if reply.pending:
            await link.cancel(sent)
    except Ended:
        return True  # what goes wrong is for cases to find
    finally:
        await talk.close(keep=False)
    return not reply.pending
