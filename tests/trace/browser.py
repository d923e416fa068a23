"""A browser without a window, driven over two pipes by its DevTools protocol."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
"""The program of a browser on this machine; None without one."""


class Tab:
    """A page in the browser; ``complaints`` are what its console and its policy have said."""

    def __init__(self, writing: int, reading: int) -> None:
        self._writing = writing
        self._reading = os.fdopen(reading, "rb", buffering=0, closefd=False)
        self._held = b""
        self._last = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> Any:
        """Send a command; return its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while (found := self._next()).get("id") != self._last:
            pass
        assert "error" not in found, found
        return found["result"]

    def open(self, file: Path) -> None:
        """Load a file, and wait until it is there."""
        self.ask("Page.navigate", url=file.as_uri())
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def value(self, expression: str) -> Any:
        """Evaluate JavaScript."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)[
            "result"
        ].get("value")

    def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            data = self._reading.read(1 << 16)
            assert data, "the browser has ended"
            self._held += data
        text, _, self._held = self._held.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
            self.complaints.append(json.dumps(message["params"]))
        return message


@contextmanager
def browsing(profile: Path) -> Iterator[Tab]:
    """Start the browser; end it."""
    to_read, writing = os.pipe()
    reading, to_write = os.pipe()
    words = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--remote-debugging-pipe", "--disable-dev-shm-usage", "--disable-background-networking"),
        f"--user-data-dir={profile}",
    )
    # The browser reads from 3 and writes to 4.
    script = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
    process = subprocess.Popen(
        ["/bin/bash", "-c", script, str(BROWSER), *words],
        pass_fds=(to_read, to_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Tab(writing, reading)
    finally:
        os.close(writing)  # with its pipe the browser ends, and its children with it
        os.close(reading)
        process.wait()
