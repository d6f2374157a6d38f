"""What breaks in the middle of a job, over adb and over SSH: every task is measured once, the message says why."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import adbutils
import pytest

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import BadInput, CommandFailed, NoPhone, SmoothdroidError, TargetLost
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.job.session import Session
from smoothdroid.device.job.task import Cooling, Task
from smoothdroid.device.store import upload
from smoothdroid.device.store.inventory import listing
from smoothdroid.device.transport import adb
from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.transport.ssh import SshOptions, SshTarget
from smoothdroid.device.transport.target import Target, read, remove
from smoothdroid.device.virtual import VirtualPhone, tree
from smoothdroid.device.virtual.host import as_root, kill_as_root
from smoothdroid.host.bench.builds import Binaries
from smoothdroid.host.bench.campaign import CampaignEvents, CampaignResult
from smoothdroid.host.bench.plan import make
from smoothdroid.host.bench.request import Request
from smoothdroid.host.gguf.artifact import inspect
from smoothdroid.host.results.cell import Protocol
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import Run, conditions, read_runs
from tests.e2e.cable import Cable
from tests.e2e.conftest import Cli, emulated
from tests.host.campaigns import run_campaign
from tests.host.fakes import LLAMA_BENCH, llama_bench, write_gguf
from tests.host.fakes import phone as known_phone
from tests.ports import free_port
from tests.processes import is_alive
from tests.waiting import GIVE_UP_S, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def own_phone() -> Iterator[VirtualPhone]:
    """An emulated phone that may be broken."""
    yield from emulated("faults")


@pytest.fixture(scope="module")
def adb_server() -> Iterator[int]:
    """The port of an adb server that may be killed: the machine's own one serves others."""
    port = free_port()
    yield port
    kill_adb_server(port)


def kill_adb_server(port: int) -> None:
    subprocess.run([adbutils.adb_path(), "-P", str(port), "kill-server"], check=False, capture_output=True)


@dataclass(frozen=True)
class Way:
    """A way to the phone, over a cable that can be pulled."""

    phone: VirtualPhone
    cable: Cable
    open: Callable[[], Target]

    def plug_and_open(self) -> Target:
        """As who finds the cable out, and plugs it in again."""
        self.cable.plug()
        return self.open()


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

    way = Way(own_phone, cable, over_adb if request.param == "adb" else over_ssh)
    target = way.open()
    for name in ("jobs", "log", "store"):
        remove(target, f"{target.root}/{name}")
    yield way
    cable.plug()
    target = way.open()
    session = Session(target)
    if job := session.running_job():
        session.stop(job)
    target.close()
    cable.close()


def tasks(root: str) -> list[Task]:
    """Three that write down each time that they ran; the second one ends once `held` is left."""
    waits = {"two": f"while [ -e {root}.hold ]; do sleep 0.1; done; "}
    return [
        Task(name, ["sh", "-c", f"echo {name} >>{root}/log; {waits.get(name, '')}echo {name} measured"], 600)
        for name in ("one", "two", "three")
    ]


@contextmanager
def held(phone: VirtualPhone, root: str) -> Iterator[None]:
    """The second task lasts as long as this; no connection to the phone is needed to end it."""
    hold = Path(f"{phone.folder}/data{root.removeprefix('/data')}.hold")
    hold.touch()
    try:
        yield
    finally:
        hold.unlink()


MEASURED = ["one measured\n", "two measured\n", "three measured\n"]


def in_the_middle(phone: VirtualPhone, session: Session, root: str, what: Callable[[], object]) -> list[str]:
    """Run the tasks and do `what` while the second one runs; returns what all of them printed."""
    with held(phone, root):
        session.start("job", tasks(root))
        following = session.follow("job")
        printed = [next(following).stdout]
        eventually(lambda: "two" in read(session.target, f"{root}/log"))
        what()
    return printed + [done.stdout for done in following]


@pytest.mark.fault(
    "the cable or the network is cut in the middle of a campaign, and comes back",
    transport="any",
    outcome="the phone measures on alone; each cell runs once and is collected",
)
def test_the_cable_is_pulled_and_plugged_in_again(way: Way) -> None:
    target = way.open()

    tries: list[int] = []

    def reopen() -> Target:
        tries.append(len(tries))
        return way.plug_and_open() if len(tries) == 2 else way.open()

    with_it = Session(target, reopen=reopen)
    assert in_the_middle(way.phone, with_it, target.root, way.cable.pull) == MEASURED
    assert len(tries) >= 2, "the first one found the cable out"
    assert read(with_it.target, f"{target.root}/log") == "one\ntwo\nthree\n", "each ran once"


@pytest.mark.fault(
    "the cable stays out",
    transport="any",
    outcome="the command ends after a while; the phone measures on, and the same command collects it later",
)
def test_the_cable_stays_out_the_phone_goes_on_and_a_later_call_collects(way: Way) -> None:
    target = way.open()
    session = Session(target, reopen=way.open, patience_s=2)
    with pytest.raises(TargetLost, match="continues by itself; run the same command again"):
        in_the_middle(way.phone, session, target.root, way.cable.pull)
    way.cable.plug()
    later = Session(way.open())
    eventually(lambda: later.running_job() is None)  # it finishes alone: nobody follows it
    later.resume("job")
    assert [done.stdout for done in later.follow("job")] == MEASURED
    assert read(later.target, f"{target.root}/log") == "one\ntwo\nthree\n", "each ran once"


@pytest.mark.fault(
    "the adb server is killed in the middle of a campaign",
    transport="adb",
    outcome="it is started again; each cell runs once",
)
@pytest.mark.parametrize("way", ["adb"], indirect=True)
def test_the_adb_server_is_killed(way: Way, adb_server: int) -> None:
    target = way.open()
    session = Session(target, reopen=way.open)
    assert in_the_middle(way.phone, session, target.root, lambda: kill_adb_server(adb_server)) == MEASURED
    assert read(session.target, f"{target.root}/log") == "one\ntwo\nthree\n", "each ran once"


@pytest.mark.fault(
    "the phone restarts in the middle of a cell",
    transport="any",
    outcome="this cell runs again, what ended before is kept",
)
def test_the_phone_is_stopped_and_started(way: Way, own_phone: VirtualPhone) -> None:
    """It comes back at its old address; what ended before stays, what ran then runs again, once."""
    target = way.open()

    def restart() -> None:
        virtual.stop(own_phone.name)
        back = virtual.start(own_phone.name)
        assert back.ssh_port == own_phone.ssh_port

    session = Session(target, reopen=way.open)
    assert in_the_middle(own_phone, session, target.root, restart) == MEASURED
    assert read(session.target, f"{target.root}/log") == "one\ntwo\ntwo\nthree\n"
    assert read(session.target, f"{target.root}/jobs/job/journal").count("\nend ") == 3


@pytest.mark.fault(
    "the phone restarts in the middle of a campaign",
    transport="any",
    outcome="it is waited for; what ended is kept, the cell that ran runs again, once",
)
@pytest.mark.parametrize("how", ["", "/ssh"], ids=["adb", "ssh"])
def test_a_phone_that_is_named_is_waited_for_while_it_restarts(own_phone: VirtualPhone, how: str) -> None:
    """By its name, as --on takes it: while it is down, there is not even an address."""
    on = f"virtual:{own_phone.name}{how}"
    target = open_target(on)
    for name in ("jobs", "log"):
        remove(target, f"{target.root}/{name}")
    before = read(target, "/proc/sys/kernel/random/boot_id")

    def restart() -> None:
        virtual.stop(own_phone.name)
        missed.clear()
        start.start()

    def reopen() -> Target:
        try:
            return open_target(on)
        except SmoothdroidError:
            missed.set()
            raise

    def start_when_missed() -> None:
        missed.wait()
        virtual.start(own_phone.name)

    missed, start = threading.Event(), threading.Thread(target=start_when_missed, daemon=True)
    with closing(Session(target, reopen=reopen)) as session:
        for again in (partial(virtual.reboot, own_phone.name), restart):
            assert in_the_middle(own_phone, session, target.root, again) == MEASURED
            assert read(session.target, f"{target.root}/log") == "one\ntwo\ntwo\nthree\n"
            session.remove("job")
            remove(session.target, f"{target.root}/log")
        assert read(session.target, "/proc/sys/kernel/random/boot_id") != before
    start.join()


@pytest.mark.fault(
    "adb over Wi-Fi: the connection drops in the middle of a campaign, and the adb server forgets the phone",
    transport="adb",
    outcome="`adb connect` is repeated until the phone answers; each cell is measured once",
)
def test_the_adb_server_forgets_a_phone_on_the_network(
    own_phone: VirtualPhone, adb_server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_server))
    address = virtual.get(own_phone.name).adb_address
    on = f"adb:{address}@127.0.0.1:{adb_server}"
    assert address not in adb.attached()
    target = open_target(on)
    for name in ("jobs", "log"):
        remove(target, f"{target.root}/{name}")
    session = Session(target, reopen=partial(open_target, on))
    assert in_the_middle(own_phone, session, target.root, lambda: adb.disconnect(address)) == MEASURED
    assert read(session.target, f"{target.root}/log") == "one\ntwo\nthree\n", "each ran once"
    adb.disconnect(address)
    open_target(on).close()
    adb.disconnect(address)


@pytest.mark.fault(
    "the phone loses power in the middle of a cell, and the journal ends in zeros",
    transport="any",
    outcome="what had ended is collected, the rest is measured, and a later job runs",
)
def test_the_phone_loses_power_and_leaves_zeros(way: Way, own_phone: VirtualPhone) -> None:
    """As f2fs and ext4 leave a file that grew shortly before."""
    target = way.open()
    session = Session(target, reopen=way.open)
    journal = f"{target.root}/jobs/job/journal"

    def lose_power() -> None:
        init = virtual.get(own_phone.name).pid
        uid = 2000 if target.kind == "adb" else 10217
        zeros = f"kill -9 $(readlink {target.root}/lock | cut -d/ -f1); head -c 3000 /dev/zero >>{journal}"
        target.run(["sh", "-c", zeros])
        kill_processes(init, "", uid, with_all=True)

    assert in_the_middle(own_phone, session, target.root, lose_power) == MEASURED
    assert read(session.target, f"{target.root}/log") == "one\ntwo\ntwo\nthree\n"
    session.remove("job")
    session.start("later", [Task("one", ["echo", "later"], 60)])
    assert [done.stdout for done in session.follow("later")] == ["later\n"]


HOST = """
import sys
from smoothdroid.device.job.session import Session
from tests.e2e.test_faults import tasks
from smoothdroid.device.transport.ssh import SshOptions, SshTarget
from smoothdroid.device.store.inventory import listing
from smoothdroid.device.transport.adb import AdbTarget
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


@pytest.mark.fault(
    "smoothdroid itself is killed in the middle of a campaign",
    transport="any",
    outcome="the phone measures on; the same command collects it",
)
def test_the_host_is_killed(way: Way, own_phone: VirtualPhone, tmp_path: Path) -> None:
    target = way.open()
    arguments = [target.name, str(own_phone.ssh_key), str(tmp_path / "known_hosts")]
    session = Session(target)
    with held(own_phone, target.root):
        with subprocess.Popen([sys.executable, "-c", HOST, *arguments]) as host:
            eventually(lambda: "two" in target.run(["cat", f"{target.root}/log"], check=False).stdout)
            host.send_signal(signal.SIGKILL)
        assert session.running_job() == "job"
    session.resume("job")
    assert [done.stdout for done in session.follow("job")] == MEASURED
    assert read(target, f"{target.root}/log") == "one\ntwo\nthree\n", "each ran once"


@contextmanager
def mounted(phone: VirtualPhone, place: str, *options: str | Path) -> Iterator[None]:
    """Something else at a place of the phone, as only the phone sees it: `options` are mount's."""
    inside = ["nsenter", f"--target={phone.pid}", "--mount"]
    where = f"{phone.folder}/root{place}"
    subprocess.run(as_root([*inside, "mount", *map(str, options), where]), check=True)
    try:
        yield
    finally:
        subprocess.run(as_root([*inside, "umount", "--lazy", where]), check=True)


@pytest.mark.fault(
    "the phone's storage is full while it measures",
    transport="any",
    outcome="the runner stops and says so; what ended is kept, and it goes on once there is space",
)
def test_the_storage_is_full_and_then_is_not(way: Way, own_phone: VirtualPhone) -> None:
    target = way.open()
    jobs = f"{target.root}/jobs"
    target.run(["mkdir", "-p", jobs])
    owner = "2000" if target.kind == "adb" else "10217"
    options = f"size=256k,uid={owner},gid={owner},mode=755"
    with mounted(virtual.get(own_phone.name), jobs, "-t", "tmpfs", "-o", options, "full"):
        fill = f"head -c 999999 /dev/zero >>{jobs}/ballast; echo filled"
        fills, *others = tasks(target.root)
        session = Session(target)
        session.start("job", [replace(fills, argv=["sh", "-c", fill]), *others])
        why = (
            r"(?s)did not start.*100%|killed \d times.*full\? Free some.*100%|cannot be written. Is the phone's storage"
        )
        with pytest.raises(CommandFailed, match=why):
            list(session.follow("job"))
        assert session.running_job() is None
        remove(target, f"{jobs}/ballast")
        session.resume("job")
        said = [done.stdout for done in session.follow("job")]
        assert said[1:] == MEASURED[1:]


@pytest.mark.fault(
    "the phone's file system becomes read-only while it measures",
    transport="any",
    outcome="the command says to restart the phone; what ended is kept and collected",
)
def test_the_jobs_become_read_only_in_mid_cell(way: Way, own_phone: VirtualPhone) -> None:
    """As Android does to a file system whose flash fails. What ended can still be collected, and says why it stops."""
    target = way.open()
    jobs = f"{target.root}/jobs"
    session = Session(target)
    phone = virtual.get(own_phone.name)
    itself = f"{phone.folder}/data{jobs.removeprefix('/data')}"
    with ExitStack() as hold:
        hold.enter_context(held(phone, target.root))
        session.start("job", tasks(target.root))
        following = session.follow("job")
        assert next(following).stdout == MEASURED[0]
        eventually(lambda: "two" in read(target, f"{target.root}/log"))
        with mounted(phone, jobs, "-o", "bind,ro", itself):
            hold.close()  # what it measured cannot be written down
            with pytest.raises(
                CommandFailed, match=r"(?s)Read-only file system.*Restart the phone\. Then run the same"
            ):
                next(following)
    session.resume("job")
    assert [done.stdout for done in session.follow("job")] == MEASURED
    assert read(target, f"{target.root}/log") == "one\ntwo\ntwo\nthree\n", "what ended is not run again"


@pytest.mark.fault(
    "adbd, or Termux with its sshd, is killed and started again",
    transport="any",
    outcome="the connection is made anew; what was ended with it runs again, once",
)
@pytest.mark.parametrize("with_all", [False, True], ids=["alone", "with-all-it-started"])
def test_the_phones_daemon_is_killed_and_started_again(way: Way, own_phone: VirtualPhone, with_all: bool) -> None:
    """A crash leaves the runner at work; when Android itself ends adbd or Termux, all that they started ends too."""
    target = way.open()
    name, uid = ("adbd", 2000) if target.kind == "adb" else ("sshd", 10217)

    def kill_it() -> None:
        init = virtual.get(own_phone.name).pid
        kill_processes(init, name, uid, with_all)

    session = Session(target, reopen=way.open)
    assert in_the_middle(own_phone, session, target.root, kill_it) == MEASURED
    assert read(session.target, f"{target.root}/log") == ("one\ntwo\ntwo\nthree\n" if with_all else "one\ntwo\nthree\n")
    assert read(session.target, f"{target.root}/jobs/job/journal").count("\nend ") == 3


def processes(init: int, daemon: str, uid: int, with_all: bool) -> list[int]:
    """A daemon of the phone that `init` is, or all of its user's processes there."""
    its_own, found = os.readlink(f"/proc/{init}/ns/pid"), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid != uid or os.readlink(folder / "ns/pid") != its_own:
                continue
            name, _, rest = (folder / "stat").read_text().partition(" (")[2].rpartition(") ")
        except OSError:  # it ended meanwhile
            continue
        if with_all or (name, int(rest.split()[1])) == (daemon, init):
            found.append(int(folder.name))
    assert found
    return found


def kill_processes(init: int, daemon: str, uid: int, with_all: bool) -> None:
    """Kill a daemon of the phone, or all of its user's processes there.

    kill(1) fails if one of them ended after they were listed, so what counts is that none is alive afterwards.
    """
    found = processes(init, daemon, uid, with_all)
    subprocess.run(kill_as_root(found), check=False, capture_output=True)
    eventually(lambda: not any(is_alive(pid) for pid in found))


@pytest.mark.fault(
    "the connection breaks while a job is sent to the phone",
    transport="any",
    outcome="it is sent again, seen there only whole, and runs once",
)
def test_the_way_is_cut_while_a_job_is_sent(way: Way) -> None:
    target = way.open()
    first, *others = tasks(target.root)
    large = replace(first, env={f"A{number}": "x" * 50_000 for number in range(4)})
    session = Session(target, reopen=way.plug_and_open)
    way.cable.pull_after(100_000)
    session.start("job", [large, *others])
    assert session.target is not target, "it was cut"
    assert [done.stdout for done in session.follow("job")] == MEASURED
    assert read(session.target, f"{target.root}/log") == "one\ntwo\nthree\n", "each ran once"
    assert session.jobs() == ["job"]


@pytest.mark.fault(
    "the connection breaks while a result is collected",
    transport="any",
    outcome="it is collected again, whole",
)
def test_the_way_is_cut_while_a_result_is_collected(way: Way) -> None:
    target = way.open()
    session = Session(target, reopen=way.plug_and_open)
    talks = Task("talks", ["seq", "60000"], 60)
    session.start("job", [talks, Task("two", ["echo", "two measured"], 60)])
    eventually(lambda: session.running_job() is None)
    way.cable.pull_after(150_000)
    one, two = session.follow("job")
    assert session.target is not target, "it was cut"
    assert one.stdout == "".join(f"{number}\n" for number in range(1, 60_001))
    assert (one.ended.attempt, two.stdout) == (1, "two measured\n")


# --- a model on its way to the phone -------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_bytes(random.Random(1).randbytes(upload.CHUNK + 999_999))  # noqa: S311 (not a secret)
    return file


class Counted:
    """How many bytes go over the way."""

    def __init__(self) -> None:
        self.first = self.last = 0

    def __call__(self, done: int, total: int) -> None:
        self.first, self.last = self.first or done, done


def there(target: Target, path: str) -> str:
    return target.run(["sha256sum", path], timeout_s=GIVE_UP_S).stdout[:64]


@pytest.mark.fault(
    "the connection is cut while a model is sent",
    transport="any",
    outcome="the next call goes on where it was cut",
)
def test_the_way_is_cut_while_a_model_is_sent(way: Way, model: Path) -> None:
    target, sha256, size = way.open(), sha256_of(model), model.stat().st_size
    remove(target, f"{target.root}/store")
    way.cable.pull_after(upload.CHUNK * 3 // 4)
    with pytest.raises(TargetLost):
        upload.ensure(target, model, sha256)
    target, counted = way.plug_and_open(), Counted()
    (part,) = listing(target)
    assert not part.whole
    arrived = part.size_bytes
    path = upload.ensure(target, model, sha256, progress=counted)
    assert there(target, path) == sha256
    assert arrived > 0
    assert counted.last == size
    assert counted.first > upload.CHUNK // 4, "what had arrived was not sent again"
    again = Counted()
    assert upload.ensure(target, model, sha256, progress=again) == path
    assert again.last == 0


@pytest.mark.fault(
    "the phone's storage fills up while a model is sent",
    transport="any",
    outcome="the command says how much is missing and what could be removed; what was sent is kept",
)
def test_the_storage_fills_up_while_a_model_is_sent(
    way: Way, own_phone: VirtualPhone, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, sha256 = way.open(), sha256_of(model)
    place = f"{target.root}/store"
    remove(target, place)
    target.run(["mkdir", "-p", place])
    owner = "2000" if target.kind == "adb" else "10217"
    room = model.stat().st_size + (4 << 20)
    monkeypatch.setattr(upload, "RESERVE_BYTES", -(1 << 30))  # it was free when somebody looked
    with mounted(
        virtual.get(own_phone.name), place, "-t", "tmpfs", "-o", f"size={room},uid={owner},gid={owner}", "full"
    ):
        target.run(["sh", "-c", f"head -c 16000000 /dev/zero >{place}/ballast"])
        with pytest.raises(BadInput, match=r"has 0 MiB free where model\.gguf .*The part that was sent is kept"):
            upload.ensure(target, model, sha256)
        remove(target, f"{place}/ballast")
        counted = Counted()
        path = upload.ensure(target, model, sha256, progress=counted)
        assert there(target, path) == sha256
        assert counted.first > 1_000_000


@pytest.mark.fault(
    "a tool is missing on the phone, as sha256sum is on Android 7",
    transport="any",
    outcome="devices and doctor name it with its fix; nothing is sent",
)
@pytest.mark.parametrize("how", ["", "/ssh"], ids=["adb", "ssh"])
def test_a_phone_without_a_tool_is_found_at_first_contact(
    own_phone: VirtualPhone, how: str, model: Path, tmp_path: Path, cli: Cli
) -> None:
    on = f"virtual:{own_phone.name}{how}"
    programs = tmp_path / "bin"
    shutil.copytree(tree.ensure(lambda step: None) / "system/bin", programs, symlinks=True)
    for tool in ("sha256sum", "fsync"):
        (programs / tool).unlink()
    fix = "pkg install coreutils"
    with closing(open_target(on)) as target:
        remove(target, f"{target.root}/store")
        with mounted(virtual.get(own_phone.name), "/system/bin", "--bind", programs):
            assert re.search(f"(?s)lacks sha256sum.*{fix}", cli("devices", "--on", on).stderr)
            (tools,) = [
                one
                for one in json.loads(cli("doctor", "--on", on, "--json", status=None).stdout)
                if one["what"] == "tools"
            ]
            assert (tools["state"], fix in tools["fix"]) == ("missing", True)
            with pytest.raises(NoPhone, match=f"lacks sha256sum .*Nothing was sent.*{fix}"):
                upload.ensure(target, model, sha256_of(model))
        assert target.run(["test", "-e", f"{target.root}/store"], check=False).exit_status == 1


@pytest.mark.fault(
    "other apps of the phone look for models, prompts and results",
    transport="any",
    outcome="all that smoothdroid keeps there is closed to them",
)
def test_what_lies_on_a_phone_is_its_users_alone(way: Way, model: Path) -> None:
    target = way.open()
    target.run(["rm", "-rf", f"{target.root}/runner"])
    program = model.with_name("program")
    program.write_text("#!/system/bin/sh\necho ran\n")
    upload.ensure(target, model, sha256_of(model))
    path = upload.ensure(target, program, sha256_of(program), executable=True)
    session = Session(target)
    session.start("job", [Task("one", [path], 60)])
    assert [done.stdout for done in session.follow("job")] == ["ran\n"]
    there = target.run(["find", target.root, "!", "-type", "l", "-exec", "stat", "-c", "%a %F %n", "{}", "+"]).stdout
    assert len(there.splitlines()) > 20
    for line in there.splitlines():
        mode, kind = line.split(maxsplit=1)
        assert mode == ("700" if kind.startswith("directory") or path in kind else "600"), line


@pytest.mark.fault(
    "a command on the phone prints without end",
    transport="any",
    outcome="it is ended after 64 MiB with an error; the connection goes on",
)
def test_a_phone_that_says_a_line_without_end(way: Way) -> None:
    target = way.open()
    with pytest.raises(CommandFailed, match="it printed more than 64 MiB"):
        target.run(["cat", "/dev/zero"], timeout_s=GIVE_UP_S)
    assert target.run(["echo", "still there"]).stdout == "still there\n"


# --- a whole campaign, with llama-bench played on the phone -----------------------------------------------------------


PHONE = known_phone()
SHORT_S = 10
"""A time limit of a cell, many times what one takes whose llama-bench is a script."""
HALF = """printf '{"build_commit": "fa'"""


class Bench:
    """A campaign on the emulated phone, again and again; a cell for each number of threads."""

    def __init__(self, way: Way, folder: Path, threads: str, protocol: Protocol | None = None) -> None:
        self.way, self.folder, self.target = way, folder, way.open()
        request = Request(threads=threads, prompt="16", generate="0", repetitions=3, rounds=1)
        plan = make([inspect(write_gguf(folder / "model.gguf"))], request, PHONE)
        self.plan: Plan = plan.model_copy(update={"protocol": protocol}) if protocol else plan

    def __call__(self, script: str) -> CampaignResult:
        tool = self.folder / "llama-bench"
        tool.write_text(script)
        binaries = Binaries("0123456789abcdef", "i8mm", "fake", {tool.name: (tool, sha256_of(tool))})
        return run_campaign(
            self.plan, self.target, PHONE, binaries, self.folder / "results", reopen=self.way.plug_and_open
        )

    def recorded(self) -> list[Run]:
        (folder,) = (self.folder / "results").iterdir()
        return read_runs(folder)

    def asked(self) -> list[int]:
        """The threads that llama-bench was asked for, each time that it ran."""
        told = self.target.run(["sh", "-c", f"cat {self.target.root}/store/*/asked"]).stdout
        return sorted(int(threads) for threads in re.findall(r" -t (\d+) ", told))


def place(run: Run) -> int:
    return run.cell.threads


def threads(runs: list[Run]) -> list[int]:
    return sorted(map(place, runs))


@pytest.mark.fault(
    "Ctrl-C while the cable is out and the phone measures",
    transport="any",
    outcome="the phone is waited for a short time, and its work is ended",
)
def test_ctrl_c_while_the_cable_is_out(way: Way, tmp_path: Path) -> None:
    pressed: list[bool] = []

    def press_once_then_plug() -> Target:
        if not pressed:
            pressed.append(True)
            raise KeyboardInterrupt
        return way.plug_and_open()

    bench = Bench(way, tmp_path, "1,2")
    tool = tmp_path / "llama-bench"
    tool.write_text(llama_bench('[ -e "$0.slept" ] || { : >"$0.slept"; sleep 600; }'))
    binaries = Binaries("0123456789abcdef", "i8mm", "fake", {tool.name: (tool, sha256_of(tool))})
    watch = CampaignEvents(on_cell=lambda cell, number, total: way.cable.pull())
    with pytest.raises(KeyboardInterrupt):
        run_campaign(
            bench.plan, bench.target, PHONE, binaries, tmp_path / "results", watch, reopen=press_once_then_plug
        )
    assert pressed
    assert Session(way.open()).running_job() is None
    assert threads(bench(LLAMA_BENCH).measured) == [1, 2]


@pytest.mark.fault(
    "a job's outputs and journal are damaged on the phone while its workstation is away",
    transport="any",
    outcome="the intact cell is collected, the damaged ones are measured again, the warnings name the files",
)
def test_a_damaged_job_is_collected_as_far_as_it_is_intact(way: Way, tmp_path: Path) -> None:
    class Gone(Exception):
        pass

    def gone(cell: object, number: int, total: int) -> None:
        raise Gone

    bench = Bench(way, tmp_path, "1-3")
    tool = tmp_path / "llama-bench"
    tool.write_text(LLAMA_BENCH)
    binaries = Binaries("0123456789abcdef", "i8mm", "fake", {tool.name: (tool, sha256_of(tool))})
    campaign = (bench.plan, bench.target, PHONE, binaries, tmp_path / "results")
    with pytest.raises(Gone):
        run_campaign(*campaign, CampaignEvents(on_cell=gone))
    session = Session(bench.target)
    eventually(lambda: session.running_job() is None)
    (job,) = session.jobs()
    one, two, _ = session.tasks(job)
    damage = f": >{one}.1.stdout; sed -i 's/^end {two} 1 0/end {two} 1 1/' journal; head -c 512 /dev/zero >>journal"
    bench.target.run(["sh", "-c", f"cd {bench.target.root}/jobs/{job}; {damage}"])
    warned: list[str] = []
    outcome = run_campaign(*campaign, CampaignEvents(on_warning=warned.append))
    assert (threads(outcome.measured), outcome.failed) == ([1, 2, 3], [])
    assert len(bench.asked()) == 5
    assert any(f"{one}.1.stdout" in text for text in warned)
    assert any(f"{job}/journal: " in text for text in warned)
    assert session.jobs() == []


FAULTS = {
    2: (
        f"{HALF}; exit 0",
        r"cannot be read, it is torn: .*Is the phone's storage full\?.* The record is \{\"build_commit",
    ),
    3: (
        f"{HALF}; kill -KILL $$",
        r'was killed: too little memory \(close other apps.*it printed: \{"build_commit": "fa',
    ),
    4: (f"{HALF}; sleep 600", r"still running after \d+ s and was ended. If it hangs, close other apps"),
    5: ("kill -ILL $$", "illegal instruction.*Build a lower ISA level .`smoothdroid build --isa"),
}
"""Threads -> what llama-bench does when it is asked for so many, and what the record then says."""


@pytest.mark.fault(
    "llama-bench crashes, hangs, is killed or writes half a record",
    transport="any",
    outcome="its cell fails with the reason, the others are measured, and the next call tries it again",
)
def test_a_tool_that_goes_wrong_fails_its_cell_and_no_other(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smoothdroid.host.bench.deployment.CELL_TIMEOUT_S", SHORT_S)
    bench = Bench(way, tmp_path, "1-6")
    faults = "\n".join(f"{threads}) {does} ;;" for threads, (does, _) in FAULTS.items())
    first = bench(llama_bench(f"case $t in\n{faults}\nesac"))
    assert (threads(first.measured), threads(first.failed)) == ([1, 6], list(FAULTS))
    for run in first.failed:
        assert re.search(FAULTS[run.cell.threads][1], str(run.failure)), run.failure
        assert (run.tokens_per_s, run.bench, run.attempt) == ([], None, 1)
    for run in first.measured:
        assert run.tokens_per_s == [10 * run.cell.threads + number + 0.5 for number in (0, 2, 1)]

    again = bench(LLAMA_BENCH)
    assert (threads(again.measured), again.failed, again.reused) == (list(FAULTS), [], 2)
    assert sorted(bench.recorded()[:6], key=place) == sorted([*first.measured, *first.failed], key=place), (
        "as they were"
    )
    assert threads(bench.recorded()) == bench.asked() == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    assert (bench(LLAMA_BENCH).reused, len(bench.asked())) == (6, 10)


DATE = """#!/system/bin/sh
now=$(toybox date +%s)
[ -e /sdcard/hours ] && now=$((now - 3600 * $(wc -l </sdcard/hours)))
echo "$now"
"""


@pytest.mark.fault(
    "the phone's clock is set back while a job runs",
    transport="any",
    outcome="time limits, durations and waits stay right",
)
def test_a_clock_set_back_in_every_cell_changes_nothing(
    way: Way, own_phone: VirtualPhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's clock is this machine's too, so it is `date` that goes back: the runner knows no other clock."""
    monkeypatch.setattr("smoothdroid.host.bench.deployment.CELL_TIMEOUT_S", SHORT_S)
    programs = tmp_path / "bin"
    shutil.copytree(tree.ensure(lambda step: None) / "system/bin", programs, symlinks=True)
    (programs / "date").unlink()
    (programs / "date").write_text(DATE)
    (programs / "date").chmod(0o755)
    in_vain = Cooling(celsius=1, within_s=1)
    bench = Bench(way, tmp_path, "1,2", Protocol(repetitions=3, cooling=in_vain))
    try:
        with mounted(virtual.get(own_phone.name), "/system/bin", "--bind", programs):
            first = bench(llama_bench('echo >>/sdcard/hours; [ "$t" = 2 ] && sleep 600'))
            again = bench(LLAMA_BENCH)
    finally:
        remove(bench.target, "/sdcard/hours")

    one, two = bench.recorded()[:2]
    assert two.started_at.timestamp() < one.started_at.timestamp() - 3500, "it went back"
    assert (threads(first.measured), threads(first.failed)) == ([1], [2])
    assert str(first.failed[0].failure).startswith("it was still running after ")
    for run in (one, two):
        assert (run.attempt, len(run.tokens_per_s)) == (1, 0 if run.failure else 3)
        # Nowhere the hour that the clock was set back by.
        assert (SHORT_S if run.failure else 0) <= run.wall_s < 3000
        assert run.waited
        assert 1 <= run.waited.seconds < 3000
        seen = conditions(first.folder, run)
        assert seen
        assert seen.seconds <= run.wall_s
    for run in first.measured:
        assert run.tokens_per_s == [10 * run.cell.threads + number + 0.5 for number in (0, 2, 1)]
    assert (threads(again.measured), again.failed, again.reused) == ([2], [], 1)
    assert bench.asked() == [1, 2, 2]
