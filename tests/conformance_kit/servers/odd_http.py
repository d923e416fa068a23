"""The server that asks at odd times, over Streamable HTTP: one stream for each request, and GET."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.conformance_kit.servers.odd_times import OddServer, Value
from tests.conformance_kit.servers.streaming_programs import SessionHandler, SessionServer

REVISION = "2025-11-25"


class _Session:
    """One conversation, and what it has to say on each stream; None: on that of GET."""

    def __init__(self, ways: str) -> None:
        self.changed = threading.Condition()
        self.streams: defaultdict[Any, list[Value]] = defaultdict(list)
        self.server = OddServer(self._say, ways)

    def _say(self, message: Value, about: Any) -> None:
        self.streams[about].append(message)
        self.changed.notify_all()

    def hear(self, line: bytes) -> None:
        with self.changed:
            self.server.hear(line, time.monotonic())
            self.changed.notify_all()

    def follow(self, about: Any) -> Iterator[Value]:
        """What comes on a stream; that of a request ends with its answer."""
        while True:
            with self.changed:
                while not self.streams[about]:
                    due = self.server.due()
                    self.changed.wait(None if due is None else max(0.0, due - time.monotonic()))
                    self.server.pass_time(time.monotonic())
                message = self.streams[about].pop(0)
            yield message
            if about is not None and message.get("id") == about and "method" not in message:
                return


class OddHttpServer(SessionServer):
    """Keeps a server for each session."""

    def __init__(self, ways: str) -> None:
        super().__init__(_OddHandler, REVISION)
        self.ways = ways
        self.made: dict[str, _Session] = {}


class _OddHandler(SessionHandler):
    server: OddHttpServer

    def _initialize(self, message: Value) -> None:
        made = _Session(self.server.ways)
        made.hear(json.dumps(message).encode())
        [answer] = made.streams.pop(message["id"])
        session = self.server.new_id()
        self.server.sessions.add(session)
        self.server.made[session] = made
        self.say(200, answer, mcp_session_id=session)

    def take(self, message: Value, session: str) -> None:
        """See :class:`SessionHandler`."""
        self.server.made[session].hear(json.dumps(message).encode())
        self.say(202)

    def serve(self, message: Value, session: str) -> None:
        """See :class:`SessionHandler`."""
        made = self.server.made[session]
        made.hear(json.dumps(message).encode())
        self._write(made.follow(message["id"]))

    def pick_up(self, mark: str | None, session: str) -> None:
        """See :class:`SessionHandler`."""
        self._write(self.server.made[session].follow(None))

    def _write(self, messages: Iterator[Value]) -> None:
        self.stream()
        try:
            self.wfile.flush()
            for each in messages:
                self.wfile.write(f"data: {json.dumps(each)}\n\n".encode())
                self.wfile.flush()
        except OSError:
            return  # whoever it was for has gone


@contextmanager
def odd_http(ways: str = "") -> Iterator[str]:
    """Serve in threads; the URL."""
    with OddHttpServer(ways) as server, server.serving():
        yield f"http://{server.authority}/mcp"
