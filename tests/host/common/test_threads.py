from __future__ import annotations

import signal
import threading

import pytest

from smoothdroid.host.common.threads import Worker
from tests.waiting import GIVE_UP_S


def test_ctrl_c_while_it_is_waited_for_ends_nothing() -> None:
    go = threading.Event()
    worker = Worker(go.wait)
    worker.start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 (the signal must not come before this block)
        threading.Timer(0.1, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
        worker.ended.wait(GIVE_UP_S)
    assert not worker.ended.is_set()
    go.set()
    assert worker.ended.wait(GIVE_UP_S)


def test_one_that_fails_has_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda told: None)

    def fails() -> None:
        raise ValueError

    worker = Worker(fails)
    worker.start()
    assert worker.ended.wait(GIVE_UP_S)
