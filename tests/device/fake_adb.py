"""An adb server that says what a test tells it to: for phones in states that no emulated phone can be in."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

Answer = Callable[[str], str | None]
"""A request, `host:connect:1.2.3.4:5555` -> what the server says to it; None where it refuses."""


@dataclass
class Listed:
    """A phone in its list."""

    serial: str
    state: str = "device"
    more: str = "product:x model:y device:z"
    transport: int = 1


@dataclass
class FakeServer:
    """Answers in adb's smart-socket protocol (AOSP, packages/modules/adb/OVERVIEW.TXT, SERVICES.TXT)."""

    port: int
    phones: list[Listed] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    answer: Answer = lambda request: None
    """What it says beyond its list."""
    no_transports: bool = False
    """It is an old one, which does not number them."""
    refusal: str = "unknown host service"

    def say(self, request: str) -> str | None:
        self.asked.append(request)
        if request == "host:devices":
            return "".join(f"{one.serial}\t{one.state}\n" for one in self.phones)
        if request == "host:devices-l":
            lines = [f"{one.serial:<22} {one.state} {one.more} transport_id:{one.transport}\n" for one in self.phones]
            return "".join(re.sub(" transport_id:.*", "", line) if self.no_transports else line for line in lines)
        if request == "host:version":
            return "0029"
        return self.answer(request)


@contextlib.contextmanager
def fake_server(phones: Sequence[Listed] = (), answer: Answer = lambda request: None) -> Iterator[FakeServer]:
    """A server at a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fake = FakeServer(listener.getsockname()[1], list(phones), answer=answer)
        threading.Thread(target=_serve, args=(listener, fake), daemon=True).start()
        yield fake
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, fake: FakeServer) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            # A client asks for the server's version while it holds another connection.
            threading.Thread(target=_answer, args=(connection, fake), daemon=True).start()


def _answer(connection: socket.socket, fake: FakeServer) -> None:
    with connection, contextlib.suppress(OSError, ValueError):
        request = _exactly(connection, int(_exactly(connection, 4), 16)).decode()
        said = fake.say(request)
        word, text = ("OKAY", said) if said is not None else ("FAIL", fake.refusal)
        connection.sendall(f"{word}{len(text.encode()):04x}{text}".encode())


def _exactly(connection: socket.socket, count: int) -> bytes:
    return connection.recv(count, socket.MSG_WAITALL)
