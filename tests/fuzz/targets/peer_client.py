"""A client's Peer under any sequence of messages: every request of ours ends, and ends once."""

from mcpcore.engine import Limits, Negotiation, Role
from mcpcore.spec.revisions import REVISIONS
from tests.engine.bench import client_config
from tests.fuzz import messages
from tests.fuzz.choices import Choices
from tests.fuzz.conversation import Conversation, helpful, talk

TOKENS = messages.TOKENS
_LIMITS = Limits(
    message_size=600,
    depth=12,
    in_flight=4,
    pending=6,
    batch=4,
    queued=400,
    input_rounds=2,
    input_requests=2,
    request_timeout=20.0,
    max_timeout=40.0,
    probe_timeout=5.0,
)
_SUBSETS = (REVISIONS, REVISIONS[-1:], REVISIONS[:-1], REVISIONS[1:2])
_WAYS = tuple(Negotiation)


def TARGET(data: bytes) -> int:
    c = Choices(data)
    revisions = c.pick(_SUBSETS)
    way = c.pick(_WAYS)
    if way is Negotiation.MODERN and not any(revision.modern for revision in revisions):
        way = Negotiation.AUTO
    if way is Negotiation.LEGACY and not any(revision.handshake for revision in revisions):
        way = Negotiation.AUTO
    config = client_config(limits=_LIMITS, revisions=revisions, negotiation=way)
    conversation = Conversation(Role.CLIENT, config, c)
    conversation.step(lambda peer: peer.start(now=0.0))
    if not c.flag(4):
        for asked in list(conversation.asked):
            conversation.line(helpful(asked))
    talk(conversation, modern=c.flag())
    return conversation.delivered
