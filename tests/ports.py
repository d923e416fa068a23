"""Ports for programs that have to be told which one they listen on."""

import random
import socket


def free_port() -> int:
    """A port of loopback that nobody listens on, and that no other socket is given by chance.

    Systems give ports above 32767 to those who ask for any: what is free there may be taken before
    the program listens.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 32_768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
