"""A process that works with a store until it is killed: ``store_child.py URL WORKER WHAT``.

``append``: makes a session and a stream, and adds events as fast as it can; each position is
printed once the store has answered.  ``echo``: answers each note to it with a note to ``parent``.
"""

import random
import sys
import time

from mcpcore.http.storing import (
    Post,
    SessionSave,
    SessionTouch,
    Step,
    StreamAppend,
    StreamBegin,
)
from mcpcore_transports.stores.base import Store, StoreSettings, open_store
from tests.transports.stores.store_stage import record

ROOMY = StoreSettings(events=1_000_000, event_bytes=1 << 30, total_bytes=1 << 30, lease=3600)
"""Nothing is given up, and no lease ends within a test."""


def append(store: Store, worker: str) -> None:
    wall = time.time()
    made = record(worker, created=wall)
    begun = store.commit(
        worker,
        [
            SessionSave(token=1, session=worker, record=made),
            SessionTouch(token=1, session=worker),
            StreamBegin(token=1, session=worker, stream=1, request=b"1"),
        ],
        wall,
    )
    assert begun == [None, True, None], begun
    place = 0
    while True:
        count = random.choice([1, 1, 5, 50])
        steps: list[Step] = [
            StreamAppend(token=1, session=worker, stream=1, data=b"event %d" % (place + 1 + at))
            for at in range(count)
        ]
        for outcome in store.commit(worker, steps, time.time()):
            place += 1
            assert outcome == place, outcome
            print(place, flush=True)


def echo(store: Store, worker: str) -> None:
    store.receive(worker, 0)
    print("there", flush=True)
    while True:
        for note in store.receive(worker, 3):
            step = Post(token=1, session="", to="parent", note=worker.encode() + b" " + note)
            store.commit(worker, [step], time.time())


if __name__ == "__main__":
    _, url, name, what = sys.argv
    {"append": append, "echo": echo}[what](open_store(url, ROOMY), name)
