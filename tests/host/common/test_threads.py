from __future__ import annotations

import signal
import threading

import pytest

from smoothdroid.host.common.threads import Worker


def test_ctrl_c_while_it_is_waited_for_ends_nothing() -> None:
    go = threading.Event()
    worker = Worker(go.wait)
    worker.start()
    threading.Timer(0.1, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        worker.ended.wait(60)
    assert not worker.ended.wait(0.1)
    go.set()
    assert worker.ended.wait(60)


def test_one_that_fails_has_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda told: None)

    def fails() -> None:
        raise ValueError

    worker = Worker(fails)
    worker.start()
    assert worker.ended.wait(60)
