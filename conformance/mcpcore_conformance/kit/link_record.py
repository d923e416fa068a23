"""Messages of a server in a conversation, and look-ups of those that belong to a request."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.account import Account
from mcpcore_conformance.kit.heard import Done, Event, Gone, Head, Heard, Noise, Text
from mcpcore_conformance.kit.messages import Kind, Message
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.verdicts import ERROR, NOISE, Broken, check
from mcpcore_conformance.kit.wire import Wire

if TYPE_CHECKING:
    from mcpcore_conformance.kit.talk import ServerTalk

OK, MULTIPLE_CHOICES = 200, 300
_PASSING = frozenset(
    {"notifications/cancelled", "notifications/progress", "notifications/tasks/status"}
)
"""Methods of messages that may be left of a finished request, and say nothing of later cases."""


class LinkRecord:
    """Everything that was heard on a connection, and of requests whether they were answered."""

    def __init__(
        self, talk: "ServerTalk", wire: Wire, revision: Revision, account: Account
    ) -> None:
        self.talk = talk
        self.wire = wire
        self.revision = revision
        self.inbox: list[Message] = []
        self.asked: list[Message] = []
        """Requests of the server, oldest first, answered or not."""
        self.heads: dict[int, Head] = {}
        self.ended: dict[int, Done] = {}
        self.events: list[Event] = []
        self.event_ids: set[str] = set()
        """Ids of all events, whatever became of the messages in them."""
        self.gone: Gone | None = None
        self.strays: list[Message] = []
        """Lines of a process that are no messages, where they are skipped."""
        self.retorts: list[Message] = []
        """What came in answer to notifications, and is no message."""
        self.heard = 0
        """Messages so far, and what should have been one."""
        self.spoilt = False
        """True if the conversation is in a state that another case should not find."""
        self.unsettled = False
        """True if something may still come of a message that was sent, and is not waited for."""
        self.account = account
        """Record of unasked messages, also of earlier cases."""
        self.account.settle()
        self._taken: set[tuple[type, str]] = set()
        """Requests of which the answer was waited for, and came."""
        self._waiting: set[tuple[type, str]] = set()
        """Requests without an answer."""
        self._notified: set[int] = set()
        """HTTP exchanges of notifications."""
        self._methods: dict[tuple[type, str], str] = {}
        """The methods of requests, for as long as the conversation lasts."""
        self._fences: set[tuple[type, str]] = set()
        """Requests of which any answer will do."""
        self._misshapen: set[tuple[type, str]] = set()
        """Requests of ``_fences`` that have got an answer which is no valid message."""

    @property
    def clean(self) -> bool:
        """True if nothing is left of the messages of this conversation."""
        left = [each for each in self.inbox if each.method not in _PASSING]
        return not (self.spoilt or self.unsettled or self._waiting or left or self.gone)

    def sorted(self, heard: Heard) -> Iterator[Message]:
        """Keep what has come; each message in it that is one, and that this conversation is about.

        Raises Broken for what is no message, and is not to be skipped.
        """
        if isinstance(heard, Text | Event) and heard.event_id is not None:
            self.event_ids.add(heard.event_id)
        match heard:
            case Text():
                self.heard += 1
                yield from self._sound(messages.parse(heard))
            case Head():
                self.heads[heard.exchange] = heard
            case Done():
                self.ended[heard.exchange] = heard
            case Event():
                self.events.append(heard)
            case Gone():
                self.gone = heard
            case Noise():
                self.heard += 1
                raise Broken(f"the server sent what the binding does not allow: {heard.detail}")

    def _sound(self, message: Message) -> Iterator[Message]:
        if message.kind is Kind.INVALID:
            self._invalid(message)
        elif message.kind is Kind.BATCH:
            check(self.revision.batches, f"{self.revision.name} has no batches, one was sent")
            for part in message.parts:
                yield from self._sound(part)
        else:
            key, surplus = key_of(message.id), self.account.heard(message)
            # whatever the case is about, that has been answered: a case of its own is about it
            if not surplus or (key in self._methods and key not in self._taken):
                yield message

    def _invalid(self, message: Message) -> None:
        key = key_of(message.id)
        if key in self._fences and not message.method:
            self._misshapen.add(key)
            self._waiting.discard(key)
            return
        exchange, answers = message.source.exchange, self.talk.features.answers_notifications
        if exchange in self._notified or (answers and message.nameless and not exchange):
            self.retorts.append(message)
            return
        process = self.wire.binding is Binding.STDIO
        if process and self.talk.skips_noise and message.stray:
            self.strays.append(message)
            return
        raise Broken(f"the server sent an invalid message: {message.told}", self._flaw(message))

    def _flaw(self, message: Message) -> str:
        """Of what kind an invalid answer is; see :class:`Broken`."""
        if message.value is None and self.wire.binding is Binding.STDIO:
            return NOISE
        if message.method or not isinstance(message.value, dict):
            return ""
        found = message.value
        alone = found.get("error") is not None and found.get("result") is None
        id = message.id
        if isinstance(id, float) and id.is_integer():
            id = int(id)  # it is no id, and still tells which was meant
        key = key_of(id)
        if message.nameless and len(self._waiting) == 1:
            (key,) = self._waiting
        return ERROR if alone else self._methods.get(key, "")

    def check_noise(self) -> None:
        """Check that nothing was skipped."""
        for stray in self.strays:
            raise Broken(f"the server sent an invalid message: {stray.told}")

    def answer_to(self, sent: Sent, *, by_chance: bool = False) -> Message | None:
        """Return the untaken answer to a request: its own answer, or an error without an id.

        On one channel such an error may be about something else that was said, and late: to a sound
        request it is the answer only ``by_chance``.
        """
        found = [each for each in self.inbox if each.kind in (Kind.RESULT, Kind.ERROR)]
        if messages.is_id(sent.id):
            for message in found:
                if message.answers(sent.id):
                    return message
        for message in found:
            if message.id in (None, UNSET) and (
                message.source.exchange == sent.exchange
                if sent.exchange and message.source.exchange
                else by_chance or not sent.sound
            ):
                return message
        return None

    def _mistyped(self, sent: Sent) -> Any:
        """The id of an answer that differs from the request's in its type alone; or UNSET."""
        for each in self.inbox:
            same = str(each.id) == str(sent.id) and type(each.id) is not type(sent.id)
            if (
                same
                and each.kind in (Kind.RESULT, Kind.ERROR)
                and key_of(each.id) not in self._waiting
            ):
                return each.id
        return UNSET

    def forget(self, sent: Sent) -> None:
        """Do not expect an answer any more, as the request was cancelled."""
        self._waiting.discard(key_of(sent.id))

    def over(self, sent: Sent) -> bool:
        """Return True if the exchange has ended so that no answer can come any more."""
        if not sent.exchange or sent.exchange not in self.ended:
            return False
        if self.wire.binding is Binding.HTTP:
            return True
        head = self.heads.get(sent.exchange)
        return head is None or not OK <= head.status < MULTIPLE_CHOICES


def key_of(id: Any) -> tuple[type, str]:
    """Return a key that tells ids apart: 1 and "1" are two."""
    return type(id), str(id)
