"""Our reference server on standard input and output, as a process with one thing broken.

``--latin`` writes Latin-1 to standard error, ``--status N`` ends with that exit status,
``--deaf-to-signals`` ignores SIGTERM and SIGINT, ``--leaves-children`` leaves a program behind,
``--hangs`` goes on when there is nothing to read any more, ``--hangs-in-calls`` waits for calls.
"""

import argparse
import os
import signal
import subprocess
import sys
import time

from mcpcore import ConnectionSettings, ServeSettings, StdioSettings, run
from mcpcore_conformance.everything.server import server

LONG = 60.0
"""Seconds; longer than any case waits."""


def main() -> int:
    """Serve, and break what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latin", action="store_true")
    parser.add_argument("--status", type=int, default=0)
    parser.add_argument("--deaf-to-signals", action="store_true")
    parser.add_argument("--leaves-children", action="store_true")
    parser.add_argument("--hangs", action="store_true")
    parser.add_argument("--hangs-in-calls", action="store_true")
    # the runner says how to serve, which is always the same here
    chosen, _ = parser.parse_known_args()
    if chosen.latin:
        os.write(2, "gestartet: \u00fc\n".encode("latin-1"))
    settings = ServeSettings()
    if chosen.deaf_to_signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        # the server proper, which heeds them, is a child of the process that gets them
        return subprocess.call([sys.executable, "-m", __spec__.name])
    if chosen.hangs_in_calls:
        patient = ConnectionSettings(drain=LONG)
        settings = ServeSettings(stdio=StdioSettings(connection=patient, linger=None))
    run(server, stdio=True, settings=settings)
    if chosen.leaves_children:
        nowhere = subprocess.DEVNULL
        subprocess.Popen(["sleep", "60"], stdin=nowhere, stdout=nowhere, stderr=nowhere)
    if chosen.hangs:
        time.sleep(LONG)
    return int(chosen.status)


if __name__ == "__main__":
    sys.exit(main())
