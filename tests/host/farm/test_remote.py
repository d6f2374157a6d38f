"""A scheduler and a worker as processes of their own, through the installed command; the worker's phone is here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from smoothdroid.device.common.errors import BadInput, CommandFailed, NoPhone, TargetLost
from smoothdroid.device.job.session import Session
from smoothdroid.device.job.task import Task
from tests.ports import free_port
from tests.waiting import GIVE_UP_S, eventually

dask = pytest.importorskip("dask")
pytest.importorskip("distributed")

from smoothdroid.host.farm import lab, remote  # noqa: E402
from smoothdroid.host.farm.remote import Farm  # noqa: E402

SMOOTHDROID = [sys.executable, "-c", "from smoothdroid.host.cli import main; main()"]


class Process:
    """`smoothdroid farm ...`, and what it says."""

    def __init__(self, *words: str, cache: Path, **variables: str) -> None:
        environment = {**os.environ, "SMOOTHDROID_CACHE": str(cache), **variables}
        self._process = subprocess.Popen(
            ["env", "--default-signal=INT", *SMOOTHDROID, "farm", *words],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.pid = self._process.pid

    def says(self, what: str) -> str:
        assert self._process.stderr
        for line in self._process.stderr:
            if what in line:
                return line
        raise AssertionError(f"it ended without saying {what!r}")

    def end(self, how: signal.Signals = signal.SIGKILL) -> int:
        self._process.send_signal(how)
        status = self._process.wait(GIVE_UP_S)
        if self._process.stderr:
            self._process.stderr.close()
        return status


class Net:
    def __init__(self, folder: Path) -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.folder = folder
        self.scheduler = self.start_scheduler()
        self.worker = self.start_worker()

    def start_scheduler(self) -> Process:
        process = Process("scheduler", self.address, cache=self.folder / "none")
        process.says("the scheduler listens at")
        return process

    def start_worker(self) -> Process:
        process = Process("worker", self.address, "--on", "local:", "--name", "desk", cache=self.folder / "desk")
        process.says("lending phones to")
        return process


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(tmp_path_factory.mktemp("net"))
    yield made
    made.worker.end()
    made.scheduler.end()


@pytest.fixture
def farm(net: Net) -> Iterator[Farm]:
    with closing(Farm(net.address)) as made:
        yield made


def test_a_phone_of_another_machine_is_a_target_like_any_other(net: Net, farm: Farm, tmp_path: Path) -> None:
    (member,) = farm.members()
    assert (member.name, member.on) == ("desk/local:", "local:")
    target = member.open()
    assert (target.name, target.root) == ("local:", str(net.folder / "desk" / "local"))
    done = target.run(["sh", "-c", "echo out; echo err >&2; exit 3"], env={"A": "b"}, check=False)
    assert (done.exit_status, done.stdout, done.stderr) == (3, "out\n", "err\n")
    with pytest.raises(CommandFailed) as failed:
        target.run(["sh", "-c", "echo no >&2; exit 4"])
    assert (failed.value.status, failed.value.stderr, failed.value.target) == (4, "no\n", "local:")
    (tmp_path / "small").write_bytes(b"\0small\n")
    target.push(tmp_path / "small", str(tmp_path / "there"), mode=0o755)
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o755
    target.pull(str(tmp_path / "there"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"\0small\n"


def test_a_large_file_comes_to_a_machine_once(net: Net, farm: Farm, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(os.urandom(remote.PIECE_BYTES + 12345))
    target = farm.members()[0].open()
    told: list[tuple[int, int]] = []
    target.push(model, str(tmp_path / "one"), progress=lambda done, size: told.append((done, size)))
    size = model.stat().st_size
    assert told == [(remote.PIECE_BYTES, size), (size, size), (size, size)]
    assert (tmp_path / "one").read_bytes() == model.read_bytes()
    (kept,) = (net.folder / "desk" / "farm").iterdir()
    before = kept.stat().st_mtime_ns
    told.clear()
    target.push(model, str(tmp_path / "two"), progress=lambda done, size: told.append((done, size)))
    assert told == [(size, size)]
    assert (tmp_path / "two").read_bytes() == model.read_bytes()
    assert kept.stat().st_mtime_ns == before


def test_a_name_that_is_not_lent_is_named(farm: Farm) -> None:
    with pytest.raises(BadInput, match="the farm has no phone desk/adb:X; did you mean `desk/local:`"):
        farm.members(["desk/adb:X"])


def test_who_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoPhone, match=r"tcp://127\.0\.0\.1:9 does not answer.*smoothdroid farm scheduler"):
        Farm("tcp://127.0.0.1:9").members()


@pytest.mark.parametrize("error", [CommandFailed("adb:A", ["ls"], 2, "o", "e"), TargetLost("gone"), BadInput("no")])
def test_an_error_survives_the_way(error: CommandFailed | TargetLost | BadInput) -> None:
    back = remote.unpacked(*lab.packed(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


def test_only_the_loopback_can_reach_scheduler_and_worker(net: Net) -> None:
    for process in (net.scheduler, net.worker):
        inodes = {
            os.readlink(link).partition("[")[2].rstrip("]")
            for link in Path(f"/proc/{process.pid}/fd").iterdir()
            if link.is_symlink() and os.readlink(link).startswith("socket:")
        }
        listening = [
            words[1].partition(":")[0]
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]
            if (words := line.split())[3] == "0A" and words[9] in inodes
        ]
        assert set(listening) == {"0100007F"}


def test_work_goes_on_through_a_killed_worker_and_a_restarted_scheduler(net: Net, farm: Farm, tmp_path: Path) -> None:
    (member,) = farm.members()
    log, back = tmp_path / "log", tmp_path / "back"

    def cell(number: int, *, awaited: str = "") -> Task:
        wait = f"until [ -e {back}-{awaited} ]; do sleep 0.1; done" if awaited else "true"
        return Task(f"cell{number}", ["sh", "-c", f"echo {number} >>{log}; {wait}"], 600)

    def trouble() -> None:
        eventually(lambda: log.exists() and log.read_text().split() == ["0", "1"])
        net.worker.end()
        net.worker = net.start_worker()
        Path(f"{back}-worker").touch()
        eventually(lambda: len(log.read_text().split()) == 3)
        net.scheduler.end()
        net.scheduler = net.start_scheduler()
        Path(f"{back}-scheduler").touch()

    somebody = threading.Thread(target=trouble)
    somebody.start()
    with closing(Session(member.open(), reopen=member.open)) as session:
        session.start("job", [cell(0), cell(1, awaited="worker"), cell(2, awaited="scheduler"), cell(3)])
        ended = [done.ended.cell for done in session.follow("job")]
        session.remove("job")
    somebody.join()
    assert ended == [f"cell{number}" for number in range(4)]
    assert log.read_text().split() == ["0", "1", "2", "3"], "each ran once"


def test_who_follows_a_phone_of_another_machine_is_interrupted_like_any_other(farm: Farm, tmp_path: Path) -> None:
    (member,) = farm.members()
    log = tmp_path / "log"
    with closing(Session(member.open(), reopen=member.open)) as session:
        session.start("long", [Task("cell", ["sh", "-c", f"echo >{log}; sleep 3600; echo >>{log}"], 4000)])

        def press() -> None:
            eventually(log.exists)
            session.interrupt()

        somebody = threading.Thread(target=press)
        somebody.start()
        with pytest.raises(KeyboardInterrupt):
            list(session.follow("long"))
        somebody.join()
        assert session.running_job() is None
        session.remove("long")
    assert log.read_text() == "\n"


def test_ctrl_c_ends_a_worker_and_not_what_its_phone_does(net: Net) -> None:
    assert net.worker.end(signal.SIGINT) == 130
    net.worker = net.start_worker()


# As docs/architecture.md has it.
TLS = """
distributed:
  comm:
    require-encryption: true
    tls:
      ca-file: {folder}/ca.pem
      scheduler: {{cert: {folder}/cert.pem, key: {folder}/key.pem}}
      worker: {{cert: {folder}/cert.pem, key: {folder}/key.pem}}
      client: {{cert: {folder}/cert.pem, key: {folder}/key.pem}}
"""


def test_with_certificates_the_farm_speaks_tls_and_to_nobody_without_one(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    config = tmp_path / "farm.yaml"
    config.write_text(TLS.format(folder=tmp_path))
    files = {"ca-file": "ca.pem", "client.cert": "cert.pem", "client.key": "key.pem"}
    client = {f"distributed.comm.tls.{key}": str(tmp_path / name) for key, name in files.items()}
    address = f"tls://127.0.0.1:{free_port()}"
    scheduler = Process("scheduler", address, cache=tmp_path, DASK_CONFIG=str(config))
    scheduler.says("the scheduler listens at")
    worker = Process("worker", address, "--on", "local:", cache=tmp_path, DASK_CONFIG=str(config))
    try:
        worker.says("lending phones to")
        with dask.config.set(client), closing(Farm(address)) as farm:
            assert farm.members()[0].open().run(["echo", "safe"]).stdout == "safe\n"
        with pytest.raises(BadInput, match="needs certificates"):
            Farm(address)
        with pytest.raises(NoPhone, match="does not answer"):
            Farm(address.replace("tls", "tcp")).members()
    finally:
        worker.end()
        scheduler.end()


def make_certificates(folder: Path) -> None:
    """A CA, and a certificate of it for everybody."""
    now = datetime.now(UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "farm")}
    for name, file in (("ca", "ca.pem"), ("farm", "cert.pem")):
        subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)]) for who in (name, "ca"))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(keys[name].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .sign(keys["ca"], hashes.SHA256())
        )
        (folder / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.TraditionalOpenSSL
    pem = keys["farm"].private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(pem)


@pytest.mark.parametrize("address", ["127.0.0.1:8786", "tcp://", "tcp://host:99999", "http://host:8786", "tcp://[::"])
def test_what_is_no_address_is_named(address: str) -> None:
    for use in (Farm, partial(lab.work, lab="desk", members=[], say=print), partial(lab.schedule, say=print)):
        with pytest.raises(BadInput, match="is not a scheduler's address"):
            use(address)


def test_a_scheduler_in_the_open_says_what_that_means(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with pytest.raises(BadInput, match="the scheduler cannot listen at"):
        lab.schedule("tcp://192.0.2.1:8786", said.append)  # an address that no machine has
    assert "can run programs on all machines of the farm" in said[0]
