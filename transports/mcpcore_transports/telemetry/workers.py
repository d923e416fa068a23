"""Page of metrics of all workers of one supervisor, whichever of them is asked for it."""

import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mcpcore.http.documents import DocumentReply
from mcpcore.http.messages import HttpRequest
from mcpcore_transports.telemetry.prometheus import exposed

__all__ = ["WorkerPages"]

_PATIENCE = 0.5
"""Seconds for another worker to answer; its metrics are missing on the page otherwise."""
_MOST = 1 << 24
"""Maximum bytes of another worker's metrics."""

Family = tuple[str, str, str, list[tuple[str, dict[str, str], float]]]
"""A metric of a worker: name, description, kind, samples."""


class WorkerPages(Collector):
    """Metrics of the workers: each gives the others its own on a Unix socket.

    ``place`` is that of this worker's socket; its name is the value of the label ``worker`` and the
    files beside it are the sockets of the others.  Its thread ends with the process.  A thread, as
    two event loops that wait for each other's metrics would wait for ever.  Raises OSError.
    """

    def __init__(self, registry: CollectorRegistry, place: Path) -> None:
        self._registry, self._place = registry, place
        self._shown = CollectorRegistry()
        self._shown.register(self)
        place.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(place))
            listener.listen()
        except OSError:
            listener.close()
            raise
        Thread(target=self._serve, args=(listener,), name="mcpcore-metrics", daemon=True).start()

    def page(self, _: HttpRequest | None = None) -> DocumentReply:
        """Return the page, for ``HttpSettings.pages``."""
        return exposed(self._shown)

    def describe(self) -> Iterable[Metric]:
        """Implement :class:`Collector`: nothing is known before it is asked for."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Implement :class:`Collector`."""
        found: dict[str, Metric] = {}
        places = sorted(self._place.parent.iterdir())
        # Side by side, as each that hangs takes its whole time.
        with ThreadPoolExecutor(max(len(places), 1)) as asking:
            told = list(asking.map(self._families, places))
        for place, families in zip(places, told, strict=True):
            for name, description, kind, samples in families:
                metric = found.setdefault(name, Metric(name, description, kind))
                for sample, labels, value in samples:
                    metric.add_sample(sample, {**labels, "worker": place.name}, value)
        return found.values()

    def _families(self, place: Path) -> list[Family]:
        if place == self._place:
            return self._own()
        try:
            return msgspec.msgpack.decode(_read(place), type=list[Family])
        except (OSError, msgspec.MsgspecError):
            return []  # it has ended, or starts

    def _own(self) -> list[Family]:
        return [
            (
                each.name,
                each.documentation,
                each.type,
                [(sample.name, sample.labels, sample.value) for sample in each.samples],
            )
            for each in self._registry.collect()
        ]

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:  # there is no descriptor for it now
                time.sleep(_PATIENCE)
                continue
            # It may be gone, and what is counted may change meanwhile: the next page has it.
            with caller, suppress(OSError, RuntimeError):
                caller.settimeout(_PATIENCE)
                caller.sendall(msgspec.msgpack.encode(self._own()))


def _read(place: Path) -> bytes:
    """Return what another worker says of itself.  Raises OSError."""
    said = bytearray()
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(_PATIENCE)
        end.connect(str(place))
        while part := end.recv(1 << 16):
            said += part
            if len(said) > _MOST:
                raise OSError("too much")
    return bytes(said)
