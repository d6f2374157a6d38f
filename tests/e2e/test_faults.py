"""What breaks in the middle of a job, over adb and over SSH: every task is measured once, the message says why."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import adbutils
import pytest

from device import adb, virtual
from device.errors import CommandFailed, TargetLost
from device.session import Session, Task
from device.ssh import SshOptions, SshTarget
from device.target import Target, read, remove
from device.virtual import VirtualPhone
from device.virtual.host import as_root
from tests.e2e.cable import Cable

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def own_phone() -> Iterator[VirtualPhone]:
    """An emulated phone that may be broken."""
    phone = virtual.start(f"faults-{os.getpid()}")
    yield phone
    virtual.stop(phone.name, erase=True)


@pytest.fixture(scope="module")
def adb_server() -> Iterator[int]:
    """The port of an adb server that may be killed: the machine's own one serves others."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    yield port
    kill_adb_server(port)


def kill_adb_server(port: int) -> None:
    subprocess.run([adbutils.adb_path(), "-P", str(port), "kill-server"], check=False, capture_output=True)


@dataclass(frozen=True)
class Way:
    """A way to the phone, over a cable that can be pulled."""

    cable: Cable
    open: Callable[[], Target]


@pytest.fixture(params=["adb", "ssh"])
def way(
    request: pytest.FixtureRequest,
    own_phone: VirtualPhone,
    adb_server: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Way]:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_server))  # where adbutils starts one
    cable = Cable(own_phone.adb_port if request.param == "adb" else own_phone.ssh_port)

    def over_adb() -> Target:
        adb.connect(f"127.0.0.1:{cable.port}", adb_server)
        return adb.AdbTarget(f"127.0.0.1:{cable.port}", port=adb_server)

    def over_ssh() -> Target:
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{cable.port} {(own_phone.folder / 'host_key.pub').read_text()}")
        url = f"ssh://{own_phone.ssh_user}@127.0.0.1:{cable.port}"
        return SshTarget(url, SshOptions(key=own_phone.ssh_key, known_hosts=known_hosts))

    way = Way(cable, over_adb if request.param == "adb" else over_ssh)
    target = way.open()
    remove(target, f"{target.root}/jobs")
    remove(target, f"{target.root}/log")
    yield way
    cable.plug()
    target = way.open()
    session = Session(target)
    if job := session.at_work():
        session.stop(job)
    target.close()
    cable.close()


def tasks(root: str) -> list[Task]:
    """Three that write down each time that they ran."""
    return [
        Task(name, ["sh", "-c", f"echo {name} >>{root}/log; sleep {seconds}; echo {name} measured"], 60)
        for name, seconds in (("one", 0), ("two", 4), ("three", 1))
    ]


MEASURED = ["one measured\n", "two measured\n", "three measured\n"]


def after(seconds: float, *, do: Callable[[], object]) -> subprocess.Popen[bytes] | None:
    time.sleep(seconds)
    do()
    return None


def eventually(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def in_the_middle(session: Session, root: str, what: Callable[[], object]) -> list[str]:
    """Run the tasks and do `what` while the second one runs; returns what all of them said."""
    session.start("job", tasks(root))
    following = session.follow("job")
    said = [next(following).stdout]
    eventually(lambda: "two" in read(session.target, f"{root}/log"))
    what()
    return said + [done.stdout for done in following]


def test_the_cable_is_pulled_and_plugged_in_again(way: Way) -> None:
    target = way.open()

    def pull() -> None:
        way.cable.pull()
        time.sleep(1)
        way.cable.plug()

    with_it = Session(target, reopen=way.open)
    assert in_the_middle(with_it, target.root, pull) == MEASURED
    assert read(with_it.target, f"{target.root}/log") == "one\ntwo\nthree\n", "each ran once"


def test_the_cable_stays_out_the_phone_goes_on_and_a_later_call_collects(way: Way) -> None:
    target = way.open()
    session = Session(target, reopen=way.open, patience_s=2)
    with pytest.raises(TargetLost, match="goes on by itself; the same command again takes it up"):
        in_the_middle(session, target.root, way.cable.pull)
    time.sleep(6)
    way.cable.plug()
    later = Session(way.open())
    assert later.at_work() is None, "it finished alone"
    later.resume("job")
    assert [done.stdout for done in later.follow("job")] == MEASURED
    assert read(later.target, f"{target.root}/log") == "one\ntwo\nthree\n", "each ran once"


@pytest.mark.parametrize("way", ["adb"], indirect=True)
def test_the_adb_server_is_killed(way: Way, adb_server: int) -> None:
    target = way.open()
    session = Session(target, reopen=way.open)
    assert in_the_middle(session, target.root, lambda: kill_adb_server(adb_server)) == MEASURED
    assert read(session.target, f"{target.root}/log") == "one\ntwo\nthree\n", "each ran once"


def test_the_phone_is_stopped_and_started(way: Way, own_phone: VirtualPhone) -> None:
    """It comes back at its old address; what ended before stays, what ran then runs again, once."""
    target = way.open()

    def restart() -> None:
        virtual.stop(own_phone.name)
        back = virtual.start(own_phone.name)
        assert back.ssh_port == own_phone.ssh_port

    session = Session(target, reopen=way.open)
    assert in_the_middle(session, target.root, restart) == MEASURED
    assert read(session.target, f"{target.root}/log") == "one\ntwo\ntwo\nthree\n"
    assert read(session.target, f"{target.root}/jobs/job/journal").count("\nend ") == 3


HOST = """
import sys
from device.session import Session
from tests.e2e.test_faults import tasks
from device.ssh import SshOptions, SshTarget
from device.adb import AdbTarget
from pathlib import Path

name, key, known_hosts = sys.argv[1:]
serial, _, port = name.removeprefix("adb:").partition("@127.0.0.1:")
if name.startswith("ssh:"):
    target = SshTarget(name, SshOptions(Path(key), Path(known_hosts)))
else:
    target = AdbTarget(serial, port=int(port))
session = Session(target)
session.start("job", tasks(target.root))
list(session.follow("job"))
"""


def test_the_host_is_killed(way: Way, own_phone: VirtualPhone, tmp_path: Path) -> None:
    target = way.open()
    arguments = [target.name, str(own_phone.ssh_key), str(tmp_path / "known_hosts")]
    with subprocess.Popen([sys.executable, "-c", HOST, *arguments]) as host:
        eventually(lambda: "two" in target.run(["cat", f"{target.root}/log"], check=False).stdout)
        host.send_signal(signal.SIGKILL)
    session = Session(target)
    assert session.at_work() == "job"
    session.resume("job")
    assert [done.stdout for done in session.follow("job")] == MEASURED
    assert read(target, f"{target.root}/log") == "one\ntwo\nthree\n", "each ran once"


def test_the_storage_is_full_and_then_is_not(way: Way, own_phone: VirtualPhone) -> None:
    target = way.open()
    jobs = f"{target.root}/jobs"
    target.run(["mkdir", "-p", jobs])
    owner = "2000" if target.name.startswith("adb") else "10217"
    inside = ["nsenter", f"--target={virtual.get(own_phone.name).pid}", "--mount"]
    # A small one over it, as the phone sees it: below /data of its root.
    where = f"{own_phone.folder}/root{jobs}"
    options = f"size=256k,uid={owner},gid={owner},mode=755"
    subprocess.run(as_root([*inside, "mount", "-t", "tmpfs", "-o", options, "full", where]), check=True)
    try:
        fill = f"head -c 999999 /dev/zero >>{jobs}/ballast; echo filled"
        fills, *others = tasks(target.root)
        session = Session(target)
        session.start("job", [replace(fills, argv=["sh", "-c", fill]), *others])
        with pytest.raises(CommandFailed, match=r"did not start.*100%|cannot be written|killed \d times"):
            list(session.follow("job"))
        assert session.at_work() is None
        remove(target, f"{jobs}/ballast")
        session.resume("job")
        said = [done.stdout for done in session.follow("job")]
        assert said[1:] == MEASURED[1:]
    finally:
        subprocess.run(as_root([*inside, "umount", "--lazy", where]), check=True)
