"""A server's Peer under any sequence of messages: each is answered as it must be, and only once."""

from mcpcore.engine import Limits, Role
from mcpcore.spec.revisions import REVISIONS
from tests.engine.bench import initialize, server_config, tell
from tests.fuzz import messages
from tests.fuzz.choices import Choices
from tests.fuzz.conversation import Conversation, talk

TOKENS = messages.TOKENS
_LIMITS = Limits(
    message_size=600,
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
_ASKED = (frozenset[str](), frozenset({"subscriptions/listen", "resources/subscribe"}))
_SUBSETS = (REVISIONS, REVISIONS[-1:], REVISIONS[:-1], REVISIONS[1:2])
_OPENINGS = [revision.name for revision in REVISIONS if revision.handshake]


def TARGET(data: bytes) -> int:
    c = Choices(data)
    config = server_config(
        limits=_LIMITS,
        revisions=_SUBSETS[c.below(16) % len(_SUBSETS)] if c.flag() else REVISIONS,
        asked_first=c.pick(_ASKED),
    )
    conversation = Conversation(Role.SERVER, config, c)
    modern = c.flag()
    if not modern and not c.flag(4):
        opening = initialize(0, c.pick(_OPENINGS), **messages.capabilities(c))
        conversation.line(messages.text(Choices(b""), opening))
        conversation.line(messages.text(Choices(b""), tell("notifications/initialized")))
    talk(conversation, modern=modern)
    return conversation.delivered
