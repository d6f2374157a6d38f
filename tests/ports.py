"""Ports of this machine for servers that a test starts."""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 20_000, 32_000
"""Below the ports of outgoing connections (ip_local_port_range), any of which could take a port that was free."""


def free_port() -> int:
    """Return a port of the loopback at which nothing listens."""
    while True:
        port = random.SystemRandom().randint(LOWEST, HIGHEST)
        with socket.socket() as tried:
            try:
                tried.bind(("0.0.0.0", port))  # noqa: S104 (only tried: nothing listens)
            except OSError:
                continue
            return port
