"""Ports for servers that go and come back where they were, or come later."""

from __future__ import annotations

import contextlib
import random
import socket


def lasting_port() -> int:
    """One that nobody listens on, below those that systems give to connections and to servers without a wish: it stays
    free while its server is away, whatever other tests connect meanwhile.
    """
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("localhost", port)):
            return port
