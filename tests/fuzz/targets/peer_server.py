"""A server's Peer under any sequence of messages: each is answered as it must be, and only once."""

from msgspec import structs

from mcpcore.engine import Limits, Role
from mcpcore.spec.revisions import REVISIONS
from tests.engine.bench import initialize, server_config, tell
from tests.fuzz import messages
from tests.fuzz.choices import Choices
from tests.fuzz.conversation import Conversation, talk

TOKENS = messages.TOKENS
_LIMITS = Limits(
    depth=12,
    in_flight=4,
    pending=4,
    batch=4,
    subscriptions=2,
    listen_streams=2,
    queued=400,
    input_rounds=2,
    request_timeout=20.0,
    max_timeout=40.0,
)
_NONE, _SOME = frozenset[str](), frozenset({"subscriptions/listen", "resources/subscribe"})
_ASKED = ((_NONE, 600), (_SOME, 600))
"""What the owner is asked about first, and the largest message."""
_ROOMY = ((_NONE, 6_000),)
_SUBSETS = (REVISIONS, REVISIONS[-1:], REVISIONS[:-1], REVISIONS[1:2])
_OPENINGS = [revision.name for revision in REVISIONS if revision.handshake]


def TARGET(data: bytes) -> int:
    c = Choices(data)
    revisions = _SUBSETS[c.below(16) % len(_SUBSETS)] if c.flag() else REVISIONS
    asked_first, size = c.seldom(_ASKED, _ROOMY)
    limits = structs.replace(_LIMITS, message_size=size)
    config = server_config(limits=limits, revisions=revisions, asked_first=asked_first)
    conversation = Conversation(Role.SERVER, config, c)
    modern = c.flag()
    if not modern and not c.flag(4):
        opening = initialize(0, c.seldom(_OPENINGS, messages.NUMBERS), **messages.capabilities(c))
        conversation.line(messages.text(Choices(b""), opening))
        conversation.line(messages.text(Choices(b""), tell("notifications/initialized")))
    talk(conversation, modern=modern)
    return conversation.delivered
