"""Work in processes of its own, several at a time, all of which an interrupt ends."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

LATE = -1
"""Status of a process that has not ended in its time."""
T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """Processes in groups of their own: Ctrl-C reaches them through here alone."""

    def __init__(self, grace: float = 5.0) -> None:
        self.interrupted = False
        self._grace = grace
        """Seconds that they have to end after an interrupt."""
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()

    def each(self, work: Callable[[T], R], tasks: Iterable[T], jobs: int) -> list[R]:
        """Do ``work`` for all tasks, ``jobs`` at a time.

        An interrupt ends all processes; it is raised when those that had begun have been told of.
        """
        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(work, task) for task in tasks]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.interrupt()
                raise

    def run(
        self, command: list[str], limit: float | None = None, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, or until its time is over: then its status is LATE."""
        with self._lock:
            if self.interrupted:
                return subprocess.CompletedProcess(command, LATE, "", "")
            worker = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                process_group=0,
                **how,
            )
            self._running.add(worker)
        try:
            said, wrong = worker.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.communicate()
            return subprocess.CompletedProcess(command, LATE, "", f"no end within {limit:g} s")
        finally:
            self._running.discard(worker)
        if worker.returncode == -signal.SIGINT:
            self.interrupted = True  # Ctrl-C came before this process had left our group
        return subprocess.CompletedProcess(command, worker.returncode, said, wrong)

    def interrupt(self) -> None:
        """Have all of them end, by force what does not within some seconds."""
        with self._lock:
            self.interrupted = True
            running = list(self._running)
        try:
            for worker in running:
                worker.send_signal(signal.SIGINT)
            until = time.monotonic() + self._grace
            while time.monotonic() < until and any(each.poll() is None for each in running):
                time.sleep(0.05)
        finally:
            for worker in running:
                worker.kill()
