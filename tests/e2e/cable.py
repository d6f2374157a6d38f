"""A cable that can be pulled: a TCP forward in front of an emulated phone."""

from __future__ import annotations

import contextlib
import socket
import threading


class Cable:
    """Carries connections to a port of this machine on to another one, until it is pulled."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._plugged = True
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def pull(self) -> None:
        """Break what is connected, and let nothing connect."""
        with self._lock:
            self._plugged = False
            for end in self._ends:
                # A reset, not an end: nobody said goodbye.
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._ends.clear()

    def plug(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._plugged = True

    def close(self) -> None:
        """Give the port back."""
        self.pull()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                outer, _ = self._listener.accept()
                with self._lock:
                    try:
                        inner = socket.create_connection(("127.0.0.1", self._to_port)) if self._plugged else None
                    except OSError:
                        inner = None
                    if inner is None:
                        outer.close()
                        continue
                    self._ends += [outer, inner]
                for source, sink in ((outer, inner), (inner, outer)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
