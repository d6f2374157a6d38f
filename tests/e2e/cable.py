"""A cable that can be pulled: a TCP forward in front of an emulated phone."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.ports import free_port


class Cable:
    """Carries connections to a port of this machine on to another one, until it is pulled."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._ends: list[socket.socket] = []
        self._lock = threading.RLock()
        self._left: int | None = None
        self._listener: socket.socket | None = None
        self.port = free_port()
        self.plug()

    def pull(self) -> None:
        """Break what is connected, and let nothing connect."""
        with self._lock:
            self._left = None
            if self._listener:
                # Refused at once, as by a phone that is not there; and the thread that accepts hears of it.
                self._listener.shutdown(socket.SHUT_RDWR)
                self._listener.close()
                self._listener = None
            for end in self._ends:
                # A reset, not an end: nobody said goodbye.
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._ends.clear()

    def pull_after(self, size: int) -> None:
        """Pull it as soon as so many bytes more went through, either way."""
        with self._lock:
            self._left = size

    @property
    def plugged(self) -> bool:
        """Whether connections go through."""
        return self._listener is not None

    def plug(self) -> None:
        """Let connections through again, at the same port."""
        with self._lock:
            if self._listener is None:
                self._listener = socket.create_server(("127.0.0.1", self.port))
                threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Give the port back."""
        self.pull()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                outer, _ = listener.accept()
                with self._lock:
                    try:
                        inner = socket.create_connection(("127.0.0.1", self._to_port)) if self.plugged else None
                    except OSError:
                        inner = None
                    if inner is None:
                        outer.close()
                        continue
                    self._ends += [outer, inner]
                for source, sink in ((outer, inner), (inner, outer)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 14):
                sink.sendall(data)
                self._count(len(data))
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _count(self, size: int) -> None:
        with self._lock:
            if self._left is not None:
                self._left -= size
                if self._left <= 0:
                    self.pull()
