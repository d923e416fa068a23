"""Stands for a program's process: asks for a run of it, and ends as that ends; see ``warm.py``.

``warm_start.py SOCKET ARGUMENTS...``; it is started for every case, so it imports next to nothing.
"""

import json
import os
import signal
import socket
import sys

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(place: str, *arguments: str) -> int:
    """Ask, wait, and return the exit status."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(place)
        for number in PASSED_ON:
            signal.signal(number, lambda number, _: connection.sendall(bytes([number])))
        asked = {"arguments": arguments, "env": dict(os.environ), "cwd": os.getcwd()}
        data = json.dumps(asked).encode() + b"\n"
        sent = socket.send_fds(connection, [data], [0, 1, 2])
        connection.sendall(data[sent:])
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):  # the streams are the run's alone: it may close them
            os.dup2(nothing, stream)
        answer = b""
        while not answer.endswith(b"\n"):
            more = connection.recv(64)
            if not more:
                return 1
            answer += more
    code = int(answer)
    if code < 0:
        if -code in PASSED_ON:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
