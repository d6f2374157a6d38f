"""The emulated phone: its profile without root, and a real one end to end (root, Debian's packages)."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import adbutils
import paramiko
import pytest

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.device.virtual import host, profile, render, state, tree
from tests.waiting import GIVE_UP_S, eventually

SHIPPED = (profile.PROFILES / "pixel-8.toml").read_text()


# --- profiles, without root ---------------------------------------------------------------------------------


def test_cpuinfo_read_back_is_the_phones() -> None:
    blocks = [
        dict(re.split(r"\s*: ", line, maxsplit=1) for line in block.splitlines())
        for block in render.cpuinfo(profile.load("pixel-8")).strip().split("\n\n")
    ]
    assert [block["processor"] for block in blocks] == [str(number) for number in range(9)]
    assert [block["CPU part"] for block in blocks] == ["0xd46"] * 4 + ["0xd4d"] * 4 + ["0xd4e"]
    assert all({"asimddp", "i8mm", "sve2"} <= set(block["Features"].split()) for block in blocks)
    assert blocks[0]["CPU implementer"] == "0x41"
    assert blocks[0]["CPU architecture"] == "8"


def test_the_files_say_what_the_profile_says() -> None:
    files = render.files(profile.load("pixel-8"), "phone", "a key")
    cpu = "sys/devices/system/cpu"
    assert files[f"{cpu}/possible"] == "0-8\n"
    assert files[f"{cpu}/cpu5/cpufreq/cpuinfo_max_freq"] == "2367000\n"
    assert files[f"{cpu}/cpu5/cpufreq/related_cpus"] == "4 5 6 7\n"
    assert files[f"{cpu}/cpu8/cpufreq/cpuinfo_min_freq"] == "500000\n"
    assert files["sys/class/thermal/thermal_zone0/type"] == "BIG\n"
    assert files["sys/class/power_supply/battery/temp"] == "221\n"
    assert "ro.product.model=Pixel 8\n" in files["etc/properties"]


def test_two_phones_of_one_profile_have_different_serial_numbers() -> None:
    def serial(name: str) -> str:
        found = re.search(r"^ro\.serialno=(\S+)$", render.files(facts, name, "a key")["etc/properties"], re.MULTILINE)
        assert found
        return found[1]

    facts = profile.load("pixel-8")
    assert serial("one") == serial("one")
    assert serial("one") != serial("two")


def test_a_profile_of_ones_own_loads_by_its_path(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(SHIPPED.replace('model = "Google Pixel 8"', 'model = "Mine"'))
    assert profile.load(str(mine)).model == "Mine"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('governor = "sched_pixel"', 'governer = "sched_pixel"', r"cluster\.0\.governer: Extra inputs"),
        ('cpus = "4-7"', 'cpus = "4-6"', r"each CPU from 0 on once; they hold \[0, 1, 2, 3, 4, 5, 6, 8\]"),
        ("level_percent = 77", "level_percent = 177", r"battery\.level_percent: .*less than or equal to 100"),
        ('qemu_cpu = "max,sme=off"', 'qemu_cpu = "max; reboot"', "qemu_cpu: .*pattern"),
        ("[memory]", "[memory", "not TOML"),
        ('"ro.hardware" = ', '"ro=hardware" = ', "cannot hold '='"),
    ],
)
def test_a_wrong_profile_is_refused_with_the_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in SHIPPED
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(SHIPPED.replace(old, new, 1))
    with pytest.raises(BadInput, match=said) as error:
        profile.load(str(wrong))
    assert str(wrong) in str(error.value)


def test_an_unknown_profile_names_those_that_exist() -> None:
    assert "pixel-8" in virtual.profiles()
    with pytest.raises(BadInput, match="pixel-8"):
        virtual.start("phone", "nokia-3310")


@pytest.mark.parametrize("name", ["", "-a", "A", "a/b", "..", "a b", "a" * 32])
def test_a_wrong_name_is_refused(name: str) -> None:
    for call in (virtual.start, virtual.stop, virtual.get):
        with pytest.raises(BadInput, match="cannot be a phone's name"):
            call(name)


def test_get_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path))
    with pytest.raises(BadInput, match="`smoothdroid phone start nobody`"):
        virtual.get("nobody")
    assert virtual.running() == []
    assert virtual.stop("nobody") is False


def test_a_reused_process_id_is_not_a_phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path))
    folder = tmp_path / "phones/old"
    folder.mkdir(parents=True)
    written = '{"profile": "pixel-8", "pid": %d, "start_ticks": 1, "adb_port": 1, "ssh_port": 2}'
    (folder / "running.json").write_text(written % os.getpid())
    assert virtual.running() == []


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(host._PACKAGES, "mmdebstrap", lambda: False)
    assert any(re.search(r"apt install .*mmdebstrap", reason) for reason in virtual.missing_requirements())
    with pytest.raises(BadInput, match="apt install"):
        virtual.start("phone")


# --- a real one ---------------------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int
    stdout: str


class Adb:
    """A shell over adb; disconnects this one phone at the end and leaves the adb server alone."""

    def __init__(self, address: str) -> None:
        binary = Path(adbutils.adb_path())
        binary.chmod(binary.stat().st_mode | stat.S_IXUSR)  # the wheel lacks the bit
        self.address = address
        assert "connected to" in adbutils.adb.connect(address, timeout=GIVE_UP_S)
        self.device = adbutils.adb.device(serial=address)

    def __call__(self, command: str) -> Answer:
        done = self.device.shell2(command, v2=True)
        return Answer(done.returncode, done.output)

    def close(self) -> None:
        adbutils.adb.disconnect(self.address)


class Ssh:
    """A shell over SSH that accepts nobody but the phone's own host key."""

    def __init__(self, running: virtual.VirtualPhone) -> None:
        self.client = paramiko.SSHClient()
        self.client.load_host_keys(str(running.known_hosts))
        self.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        key = paramiko.ECDSAKey.from_private_key_file(str(running.ssh_key))
        self.client.connect(
            "127.0.0.1",
            running.ssh_port,
            running.ssh_user,
            pkey=key,
            allow_agent=False,
            look_for_keys=False,
        )

    def __call__(self, command: str) -> Answer:
        _, stdout, stderr = self.client.exec_command(command, timeout=GIVE_UP_S)
        said = stdout.read().decode() + stderr.read().decode()
        return Answer(stdout.channel.recv_exit_status(), said)

    def close(self) -> None:
        self.client.close()


Shell = Callable[[str], Answer]


@pytest.fixture(scope="module")
def running() -> Iterator[virtual.VirtualPhone]:
    name = f"test-{os.getpid()}"
    yield virtual.start(name)
    assert virtual.stop(name, erase=True)


@pytest.fixture(scope="module")
def adb(running: virtual.VirtualPhone) -> Iterator[Adb]:
    shell = Adb(running.adb_address)
    yield shell
    shell.close()


@pytest.fixture(scope="module")
def ssh(running: virtual.VirtualPhone) -> Iterator[Ssh]:
    shell = Ssh(running)
    yield shell
    shell.close()


@pytest.fixture(params=["adb", "ssh"])
def shell(request: pytest.FixtureRequest) -> Shell:
    """Both ways in, one after the other."""
    chosen: Shell = request.getfixturevalue(request.param)
    return chosen


# Without a C library: zig would make one first, for a minute.
HELLO = r"""
#include <arm_neon.h>
__asm__(".global _start\n_start: mov x0, sp\nbl begin");
static long call(long number, long a, const void *b, long c) {
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x2 __asm__("x2") = c;
  register const void *x1 __asm__("x1") = b;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
  return x0;
}
void begin(long *stack) {
  const char *name = (const char *)stack[1];
  long length = 0;
  while (name[length]) length++;
  call(64, 1, name, length);
  call(64, 1, "\n", 1);
  int8x16_t ones = vdupq_n_s8(stack[0]);
  int dot = vaddvq_s32(vdotq_s32(vdupq_n_s32(0), ones, ones));
  char said[] = {'0' + dot / 10, '0' + dot % 10, '\n'};
  call(64, 1, said, 3);
  call(94, 0, 0, 0);
}
"""


@pytest.fixture(scope="module")
def arm64_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static arm64 program that prints its argv[0] and then runs a dot-product instruction (sdot)."""
    folder = tmp_path_factory.mktemp("arm64")
    source = folder / "hello.c"
    source.write_text(HELLO)
    compile_it = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-nostdlib", "-fno-builtin"]
    compile_it += ["-mcpu=generic+v8_2a+dotprod", "-O1", "-static", "-o", str(folder / "hello"), str(source)]
    subprocess.run(compile_it, check=True)
    return folder / "hello"


def processes_in(namespace: str) -> list[int]:
    """The processes whose mount namespace this is: what is left of a phone."""
    found = []
    for link in Path("/proc").glob("[0-9]*/ns/mnt"):
        try:
            if os.readlink(link) == namespace:
                found.append(int(link.parts[2]))
        except OSError:
            continue
    return found


def mounts_of(name: str) -> list[str]:
    """The mounts of this machine that belong to a phone; other programs may mount what they want."""
    return [line for line in Path("/proc/mounts").read_text().splitlines() if f"/phones/{name}/" in line]


@pytest.mark.e2e
def test_this_machine_can_run_one() -> None:
    assert virtual.missing_requirements() == []


@pytest.mark.e2e
def test_it_says_that_it_is_the_phone(shell: Shell, running: virtual.VirtualPhone) -> None:
    assert shell("getprop ro.product.model").stdout == "Pixel 8\n"
    assert shell("getprop ro.serialno").stdout.strip() == render.serial_number(running.name)
    assert "[ro.board.platform]: [zuma]\n" in shell("getprop").stdout
    assert shell("getprop no.such.key").stdout == "\n"
    assert shell("getprop no.such.key fallback").stdout == "fallback\n"
    assert shell("uname -m").stdout == "aarch64\n"
    assert "x86_64" not in shell("uname -a").stdout
    assert shell("hostname").stdout.strip() == running.name


@pytest.mark.e2e
def test_proc_and_sys_are_the_phones(shell: Shell) -> None:
    facts = profile.load("pixel-8")
    assert shell("cat /proc/cpuinfo").stdout == render.cpuinfo(facts)
    assert f"MemTotal: {facts.memory.total_kb:>14} kB\n" in shell("cat /proc/meminfo").stdout
    assert shell("nproc").stdout == "9\n"
    assert shell("cat /sys/devices/system/cpu/cpu8/cpufreq/cpuinfo_max_freq").stdout == "2914000\n"
    assert shell("cat /sys/class/thermal/thermal_zone*/type").stdout.split() == [
        zone.type for zone in facts.thermal_zone
    ]
    assert shell("cat /sys/class/power_supply/battery/current_now").stdout == "-210000\n"


@pytest.mark.e2e
def test_a_temperature_changed_in_its_folder_changes_on_the_phone(adb: Adb, running: virtual.VirtualPhone) -> None:
    zone = running.folder / "sys/class/thermal/thermal_zone0/temp"
    before = zone.read_text()
    zone.write_text("-1500\n")
    try:
        assert adb("cat /sys/class/thermal/thermal_zone0/temp").stdout == "-1500\n"
        live = adb("dumpsys thermalservice").stdout.partition("Current temperatures from HAL:")[2]
        assert "Temperature{mValue=-1.500, mType=0, mName=BIG, mStatus=0}" in live
        assert "Temperature{mValue=24.833, mType=3, mName=VIRTUAL-SKIN, mStatus=0}" in live
    finally:
        zone.write_text(before)


@pytest.mark.e2e
def test_dumpsys_answers_the_shell_and_refuses_an_app(adb: Adb, ssh: Ssh) -> None:
    said = adb("dumpsys battery").stdout
    assert "  level: 77\n" in said
    assert "  temperature: 221\n" in said
    assert "  voltage: 4127\n" in said
    assert "Permission Denial" in ssh("dumpsys battery").stdout


@pytest.mark.e2e
def test_it_has_androids_users(adb: Adb, ssh: Ssh) -> None:
    assert adb("id -u; id -un").stdout.split() == ["2000", "shell"]
    assert ssh("id -u; id -un; pwd").stdout.split() == ["10217", "u0_a217", render.TERMUX_HOME]
    assert adb("touch /system/x").status != 0
    assert adb("touch /etc/x /x").status != 0
    assert adb(f"ls {render.TERMUX_HOME}").status != 0, "another app's files must be closed to the shell"
    assert ssh("ls /proc").stdout.split().count("1") == 0, "an app does not see the processes of others"


@pytest.mark.e2e
def test_it_has_androids_tools_and_no_others(shell: Shell) -> None:
    assert "MIRBSD KSH" in shell("echo $KSH_VERSION").stdout
    assert "MIRBSD KSH" in shell("/bin/sh -c 'echo $KSH_VERSION'").stdout
    assert shell("echo $PATH").stdout == "/system/bin\n"
    assert shell("toybox readlink -f /system/bin/ls").stdout == "/system/bin/toybox\n"
    assert shell("echo 'a b' | awk '{print $2}'").stdout == "b\n"
    for program in ("bash", "dash", "perl", "python3", "busybox", "wget", "apt", "su"):
        gone = shell(f"which {program}; ls /bin/{program} /usr/bin/{program} /usr/sbin/{program}")
        assert gone.status != 0
        assert not re.search(rf"^/\S*{program}$", gone.stdout, re.MULTILINE), gone.stdout
    assert "coreutils" not in shell("ls --version").stdout


@pytest.mark.e2e
def test_exit_status_and_text_pass_unharmed(shell: Shell) -> None:
    assert shell("exit 7").status == 7
    assert shell("echo 'Grüße ✓ 手机'").stdout == "Grüße ✓ 手机\n"
    assert shell("x='✓'; echo ${#x}").stdout == "1\n"
    assert shell("cat <<END\nheld\nEND").stdout == "held\n"


@pytest.mark.e2e
def test_arm64_binaries_run_and_have_the_phones_cpu(
    adb: Adb, ssh: Ssh, arm64_program: Path, running: virtual.VirtualPhone
) -> None:
    adb.device.sync.push(arm64_program, "/data/local/tmp/hello", mode=0o755)
    assert adb("cd /data/local/tmp && ./hello") == Answer(0, "./hello\n16\n")
    # An older core has no sdot. The shell sees the signal, as it would on a phone.
    assert adb("QEMU_CPU=cortex-a57 /data/local/tmp/hello").status == 128 + signal.SIGILL

    with ssh.client.open_sftp() as sftp:
        sftp.put(str(arm64_program), f"{render.TERMUX_HOME}/hello")
        sftp.chmod(f"{render.TERMUX_HOME}/hello", 0o755)
    assert ssh("./hello") == Answer(0, "./hello\n16\n")

    adb.device.sync.push(arm64_program, "/sdcard/hello", mode=0o755)
    assert adb("/sdcard/hello").status == 126, "nothing can be executed from the shared storage"


@pytest.mark.e2e
def test_taskset_takes_the_phones_cpus(adb: Adb) -> None:
    assert adb("taskset 1f0 echo ran") == Answer(0, "ran\n")
    assert adb("taskset 200 echo ran").status != 0


@pytest.mark.e2e
def test_it_is_reachable_from_this_machine_only(running: virtual.VirtualPhone) -> None:
    listening = {
        (address, int(port, 16))
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        for address, port in [line.split()[1].split(":")]
        if line.split()[3] == "0A"
    }
    ours = {(address, port) for address, port in listening if port in (running.adb_port, running.ssh_port)}
    assert ours == {("0100007F", running.adb_port), ("0100007F", running.ssh_port)}
    assert running.adb_port not in range(5554, 5586)


@pytest.mark.e2e
def test_another_key_does_not_log_in(running: virtual.VirtualPhone) -> None:
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(running.known_hosts))
        with pytest.raises(paramiko.AuthenticationException):
            client.connect(
                "127.0.0.1",
                running.ssh_port,
                running.ssh_user,
                pkey=paramiko.ECDSAKey.generate(),
                allow_agent=False,
                look_for_keys=False,
            )


@pytest.mark.e2e
def test_a_second_start_returns_the_running_one(running: virtual.VirtualPhone, tmp_path: Path) -> None:
    assert virtual.start(running.name) == running
    assert virtual.get(running.name) == running
    assert running in virtual.running()
    other = tmp_path / "other.toml"
    other.write_text(SHIPPED)
    with pytest.raises(BadInput, match="runs already, as pixel-8"):
        virtual.start(running.name, str(other))


@pytest.mark.e2e
def test_two_phones_side_by_side_do_not_see_each_other(adb: Adb, running: virtual.VirtualPhone) -> None:
    other = virtual.start(f"{running.name}-b")
    try:
        beside = Adb(other.adb_address)
        try:
            assert adb("echo mine >/data/local/tmp/mine").status == 0
            assert beside("ls /data/local/tmp").stdout == ""
            assert beside("getprop ro.serialno").stdout != adb("getprop ro.serialno").stdout
            assert adb("cat /data/local/tmp/mine").stdout == "mine\n"
        finally:
            beside.close()
    finally:
        assert virtual.stop(other.name, erase=True)
    assert not other.folder.exists()
    assert adb("echo still here").stdout == "still here\n"


@pytest.mark.e2e
def test_stop_leaves_no_process_and_no_mount_but_what_was_stored() -> None:
    name = f"test-{os.getpid()}-stop"
    started = virtual.start(name)
    namespace = os.readlink(f"/proc/{started.pid}/ns/mnt")
    assert started.pid in processes_in(namespace)
    shell = Ssh(started)
    assert shell("echo kept >kept; (sleep 1000 &) >/dev/null 2>&1").status == 0
    shell.close()

    assert virtual.stop(name) is True
    assert processes_in(namespace) == []
    assert mounts_of(name) == []
    assert list((started.folder / "root").iterdir()) == []
    assert virtual.stop(name) is False
    assert started not in virtual.running()

    again = virtual.start(name)
    try:
        assert (again.adb_port, again.ssh_port) == (started.adb_port, started.ssh_port)
        shell = Ssh(again)
        assert shell("cat kept").stdout == "kept\n"
        shell.close()
    finally:
        virtual.stop(name, erase=True)


@pytest.mark.e2e
def test_a_phone_that_was_killed_is_not_running_and_starts_again() -> None:
    name = f"test-{os.getpid()}-kill"
    started = virtual.start(name)
    try:
        namespace = os.readlink(f"/proc/{started.pid}/ns/mnt")
        subprocess.run(host.kill_as_root([started.pid]), check=True)
        eventually(lambda: processes_in(namespace) == [])
        with pytest.raises(BadInput, match="no phone"):
            virtual.get(name)
        again = virtual.start(name)
        assert again.pid != started.pid
        shell = Ssh(again)
        assert shell("echo back").stdout == "back\n"
        shell.close()
    finally:
        virtual.stop(name, erase=True)


@pytest.mark.e2e
def test_a_start_that_fails_says_why_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"test-{os.getpid()}-fail"
    monkeypatch.setattr(tree, "ADBD", "no/such/adbd")
    try:
        with pytest.raises(SmoothdroidError, match="no/such/adbd") as error:
            virtual.start(name)
        assert f"phones/{name}/log" in str(error.value)
        assert state.processes(state.folder_of(name)) == []
        assert mounts_of(name) == []
    finally:
        virtual.stop(name, erase=True)


@pytest.mark.e2e
def test_an_interrupted_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is pressed while it waits for the phone's daemons."""
    name = f"test-{os.getpid()}-intr"

    def interrupt(folder: Path) -> virtual.VirtualPhone | None:
        if reported := state.read(folder):
            raise KeyboardInterrupt
        return reported

    monkeypatch.setattr("smoothdroid.device.virtual.boot.read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        virtual.start(name)
    assert state.processes(state.folder_of(name)) == []
    assert name not in {each.name for each in virtual.running()}
    virtual.stop(name, erase=True)


@pytest.mark.e2e
def test_root_follows_no_link_that_a_user_of_the_phone_planted(tmp_path: Path) -> None:
    name = f"test-{os.getpid()}-link"
    secret = tmp_path / "workstation"
    secret.mkdir(mode=0o700)
    before = secret.stat()
    started = virtual.start(name)
    try:
        shell = Ssh(started)
        assert shell(f"cd ..; mv home old; ln -s {secret} home").status == 0
        shell.close()
        virtual.stop(name)
        virtual.start(name)
        after = secret.stat()
        assert (after.st_uid, after.st_mode, list(secret.iterdir())) == (before.st_uid, before.st_mode, [])
    finally:
        virtual.stop(name, erase=True)


@pytest.mark.e2e
def test_the_tree_is_made_once_by_two_makers_after_one_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path))
    tmp_path.chmod(0o700)
    umask = os.umask(0o077)
    request.addfinalizer(lambda: os.umask(umask))
    half = tmp_path / "phone-tree/making-killed"
    (half / "phone/system").mkdir(parents=True)
    made: list[Path] = []
    steps: list[str] = []
    makers = [threading.Thread(target=lambda: made.append(tree.ensure(steps.append))) for _ in range(2)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(made) == 2
    assert made[0] == made[1]
    assert len(steps) == 1
    assert sorted(path.name for path in (tmp_path / "phone-tree").iterdir()) == ["lock", made[0].name]
    # A narrow umask must not lock the phone's users out, nor may the tree's modes leak to the folders above.
    assert stat.S_IMODE((made[0] / "system/bin").stat().st_mode) == 0o755
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
