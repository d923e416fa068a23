"""Messages between workers: parts of a POST that concern another one, and notes to all.

A response belongs to the worker that sent the request, whose name stands in the id; so does
progress. A cancellation belongs to the worker that runs the request. As that one is not known, all
workers get it.
"""

import hashlib
import re
from collections import OrderedDict, deque
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, structs
from msgspec.json import Decoder

from mcpcore.engine.peer import Peer
from mcpcore.http.server.stored.steps import Steps
from mcpcore.http.storing import Announce, Announced, Forwarded, Note, Post, StoreFailure
from mcpcore.spec.types.base import CancelledParams, ProgressParams
from mcpcore.wire.message import Frame, Message

LOG = "notifications/message"
WORKER = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_NOTES = 1000
"""Maximum number of notes that wait for the store, and of announcements remembered."""
_OURS = re.compile(rf"({WORKER.pattern}\.[0-9a-f]{{8}}\.)[0-9]{{1,15}}")

_decode_cancelled = Decoder(CancelledParams).decode
_decode_progress = Decoder(ProgressParams).decode


class Elsewhere(Struct, frozen=True):
    """Message for another worker (None: for all others)."""

    worker: str | None
    message: Message

    def post(self, session: str, principal: str | None) -> dict[str, Any]:
        """Return the members of the :class:`~mcpcore.http.storing.Post` that passes it on."""
        raw = Raw(msgspec.json.encode(self.message))
        name = None if principal is None else str(principal)  # without the scopes and claims
        note = Forwarded(session=session, message=raw, principal=name)
        return {"to": self.worker, "note": msgspec.json.encode(note)}


def sort_out(frame: Frame, peer: Peer, name: str) -> tuple[Frame | None, list[Elsewhere]]:
    """Divide a frame into a part for ``peer`` and messages for other workers.

    ``name`` is the prefix of the ids of this worker's own requests. A cancellation of an unknown
    request may be for both.
    """
    messages = frame if isinstance(frame, list) else [frame]
    elsewhere: list[Elsewhere] = []
    here = []
    for message in messages:
        worker, only = _concerns(message, peer, name) if isinstance(message, Message) else _HERE
        if worker is not None or not only:
            assert isinstance(message, Message)  # noqa: S101 - nothing else concerns anybody
            elsewhere.append(Elsewhere(worker, message))
        if worker is None:
            here.append(message)
    if not elsewhere:
        return frame, elsewhere
    if not here:
        return None, elsewhere
    return (here if isinstance(frame, list) else frame), elsewhere


_HERE: tuple[str | None, bool] = (None, True)
_EVERYWHERE: tuple[str | None, bool] = (None, False)


def _concerns(message: Message, peer: Peer, name: str) -> tuple[str | None, bool]:
    """Return the other worker that a message is for, or None, and True if no other one needs it."""
    if message.method is UNSET:
        return _asker(message.id, name)
    if message.id is not UNSET or message.params is UNSET:
        return _HERE
    try:
        if message.method == "notifications/progress":
            return _asker(_decode_progress(message.params).progress_token, name)
        if message.method == "notifications/cancelled":
            id = _decode_cancelled(message.params).request_id
            known = id is None or id in peer._state.in_flight_by_id
            return _HERE if known else _EVERYWHERE
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    return _HERE


def _asker(id: Any, name: str) -> tuple[str | None, bool]:
    """Return the worker that has given this id, if it is another."""
    match = _OURS.fullmatch(id) if isinstance(id, str) else None
    if match is None or match[1] == name:
        return _HERE
    return match[1].partition(".")[0], True


def _topic(note: Announced) -> str:
    """Return the topic of an announcement, under which a later one replaces an earlier one.

    Each log line is a topic of its own.
    """
    if note.method == LOG:
        return note.once
    return hashlib.sha256(msgspec.json.encode(structs.replace(note, once=""))).hexdigest()


class Mailbox:
    """Queue of notes from this worker to all others, in order; failed ones are sent again."""

    __slots__ = ("_failed", "_heard", "_notes", "_open", "_steps", "deadline")

    def __init__(self, steps: Steps) -> None:
        self.deadline: float | None = None
        self._steps = steps
        self._notes: deque[Note] = deque()
        """Notes that are on their way, then notes that wait for the next round."""
        self._open = 0
        self._failed: list[Note] = []
        self._heard: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._notes)

    def announced(self) -> list[Announced]:
        """Return the announcements that the store is not known to have."""
        return [note for note in self._notes if isinstance(note, Announced)]

    def post(self, note: Note) -> None:
        """Send a note to all other workers.  If too many wait, drop the oldest waiting one."""
        self._notes.append(note)
        if len(self._notes) > self._open + MOST_NOTES:
            del self._notes[self._open]
        self.again()

    def again(self) -> None:
        """Begin the next round, unless one is on its way."""
        if self._open or self.deadline is not None:
            return
        for note in self._notes:
            self._open += 1
            data = msgspec.json.encode(note)
            if isinstance(note, Announced):
                topic = _topic(note)
                self._steps.ask(Announce, "", self._posted, note=data, topic=topic)
            else:
                self._steps.ask(Post, note.session, self._posted, to=None, note=data)

    def _posted(self, outcome: StoreFailure | None) -> None:
        self._open -= 1
        note = self._notes.popleft()
        if isinstance(outcome, StoreFailure):
            self._failed.append(note)
        if self._open:
            return
        if self._failed:
            self._notes.extendleft(reversed(self._failed))
            self._failed = []
            self._steps.retry(self)
        else:
            self.again()

    def is_new(self, name: str) -> bool:
        """Return True if an announcement is new here; one may come twice after a failure."""
        if name in self._heard:
            return False
        self._heard[name] = None
        if len(self._heard) > MOST_NOTES:
            self._heard.popitem(last=False)
        return True


__all__ = ["LOG", "WORKER", "Elsewhere", "Mailbox", "sort_out"]
