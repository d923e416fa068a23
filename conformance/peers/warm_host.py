"""The process that has imported a program, and forks for every run of it; see ``warm.py``.

Runs in the environment of an SDK: the standard library only.  ``warm_host.py SOCKET PROGRAM
ARGUMENTS...``; it ends when its standard input is closed.
"""

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

LONGEST = 1 << 20
"""Bytes of a request: arguments, environment and directory of a run."""
LEAVING = 10
"""Seconds that the last runs may take to end."""


def main(place: str, program: str, *arguments: str) -> None:
    """Import what the program imports, then serve until nobody needs it any more."""
    sys.path[0] = str(Path(program).resolve().parent)
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="warm")  # all but what it does as a program
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        chooser = selectors.DefaultSelector()
        chooser.register(listener, selectors.EVENT_READ)
        chooser.register(sys.stdin, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in chooser.select()}
            if sys.stdin in ready:
                signal.alarm(LEAVING)
                bury(0)
                return
            bury(os.WNOHANG)
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    chooser.close()
                    os._exit(attend(connection, program))


def bury(options: int) -> None:
    """Wait for runs that have ended, so that the processor's time that they took is counted."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def attend(connection: socket.socket, program: str) -> int:
    """Run the program once, beside the process that asked for it."""
    data, streams, _, _ = socket.recv_fds(connection, LONGEST, 3)
    while not data.endswith(b"\n"):
        more = connection.recv(LONGEST)
        if not more:
            return 1
        data += more
    run = os.fork()
    if run == 0:
        connection.close()
        play(json.loads(data), streams, program)
    with suppress(OSError):
        os.setpgid(run, run)  # both do it: whoever comes first
    for stream in streams:
        os.close(stream)
    Thread(target=forward, args=(connection, run), daemon=True).start()
    _, status = os.waitpid(run, 0)
    code = os.waitstatus_to_exitcode(status)
    with suppress(OSError):
        connection.sendall(f"{code}\n".encode())
    return 0


def forward(connection: socket.socket, run: int) -> None:
    """Pass on signals, each a byte; once the other process is gone, this one is to go, too."""
    with suppress(OSError):
        while data := connection.recv(64):
            for number in data:
                os.killpg(run, number)
        os.killpg(run, signal.SIGKILL)


def play(asked: Any, streams: list[int], program: str) -> None:
    """Become the program; never returns."""
    os.setpgid(0, 0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = [program, *asked["arguments"]]
    code = 0
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
