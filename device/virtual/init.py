"""The first process of an emulated phone: a script that runs as root, with Python's standard library only.

It starts in mount, PID, UTS and IPC namespaces of its own (phone.py calls unshare), builds the phone's root,
starts adbd and sshd there as Android's users, and forwards two loopback ports of the workstation to them.
When it ends, the kernel ends every process of the phone, and the mounts go with their namespace.

Debian's adbd listens on all interfaces without a key, and has no option against that. So the phone gets a
network of its own too, with nothing in it but a loopback: the only way in is the forward from the
workstation's 127.0.0.1. (adbd also listens on vsock, which a hypervisor can reach; no namespace holds that.)
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import uuid
from pathlib import Path

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
PORTS = range(20000, 30000)
"""The ports of emulated phones: below the kernel's ephemeral ports (32768 and up), so that a phone finds its own
port free again; and not 5554 to 5585, where the adb server looks for emulators by itself and would list the phone
twice."""

APP_FOLDERS = ("files/home", "files/usr/tmp")
"""The folders in Termux's app folder: its user's home, and $PREFIX/tmp for temporary files."""


def main() -> int:
    """Become the phone; return when one of its daemons ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the phone's name")
    parser.add_argument("--tree", type=Path, required=True, help="the read-only root tree")
    parser.add_argument("--folder", type=Path, required=True, help="this phone's files")
    parser.add_argument("--first-port", type=int, required=True, help="the port to try first, as an offset")
    parser.add_argument("--profile", required=True, help="the phone's profile")
    parser.add_argument("--binfmt", help="how to register qemu with the kernel, where the CPU is not arm64")
    parser.add_argument("--adbd", required=True, help="adbd's path in the tree")
    parser.add_argument("--shell-uid", type=int, required=True)
    parser.add_argument("--termux-uid", type=int, required=True)
    parser.add_argument("--app", required=True, help="the folder of the app, Termux, in /data/data")
    parser.add_argument("--ssh-port", type=int, required=True, help="sshd's port in the phone's own network")
    parser.add_argument("--env", action="append", default=[], help="NAME=VALUE for adbd and what it starts")
    args = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.setsid()  # leave the terminal that it was started from
    os.umask(0o022)
    # /proc is still the workstation's: this is the process's number and start time (proc(5), field 22) there.
    pid = int(os.readlink("/proc/self"))
    start_ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    adb_listener, adb_port = listen(args.first_port)
    ssh_listener, ssh_port = listen(args.first_port + 1)
    socket.sethostname(args.name)
    own_network()
    if args.binfmt:
        register_binfmt(args.binfmt, args.folder / "root")
    make_root(args)

    environment = dict(pair.split("=", 1) for pair in args.env)
    root = args.folder / "root"

    def start_adbd() -> int:
        # The groups that Android's shell is in: log, adb, sdcard_rw, inet, readproc.
        groups = [1007, 1011, 1015, 3003, 3009]
        # The port is the outer one, because vsock has no namespaces: there, two phones cannot share one.
        more = {"TMPDIR": "/data/local/tmp", "HOME": "/", "ADBD_PORT": str(adb_port)}
        return start([f"/{args.adbd}"], root, args.shell_uid, groups, {**environment, **more})

    def start_sshd() -> int:
        # As Termux does it: not root but the app's own user runs sshd, so only that user can log in.
        sshd = ["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/sshd_config"]
        return start(sshd, root, args.termux_uid, [3003], environment)

    daemons = {start_adbd(): start_adbd, start_sshd(): start_sshd}
    # The connections are made in this process's network, which is the phone's; the listeners stay where they
    # were made, which is the workstation's.
    for listener, inner_port in ((adb_listener, adb_port), (ssh_listener, args.ssh_port)):
        threading.Thread(target=forward, args=(listener, inner_port), daemon=True).start()
    # The address stands in OpenSSH's form for a port other than 22.
    host_key = (args.folder / "host_key.pub").read_text(encoding="utf-8")
    (args.folder / "known_hosts").write_text(f"[127.0.0.1]:{ssh_port} {host_key}", encoding="utf-8")
    state = {"profile": args.profile, "pid": pid, "start_ticks": start_ticks}
    report(args.folder / "running.json", {**state, "adb_port": adb_port, "ssh_port": ssh_port})

    while True:
        ended, status = os.wait()  # orphans of the phone are this process's children too
        if restart := daemons.pop(ended, None):
            print(f"{restart.__name__} ended with status {os.waitstatus_to_exitcode(status)}", file=sys.stderr)
            if not os.WIFSIGNALED(status):
                return 1
            daemons[restart()] = restart  # as Android's init does with an adbd that was killed


def listen(offset: int) -> tuple[socket.socket, int]:
    """Listen on the workstation's loopback, on the first free port from the offset on; return socket and port."""
    for step in range(len(PORTS)):
        port = PORTS[(offset + step) % len(PORTS)]
        listener = socket.socket()
        # Otherwise a phone that was just stopped would leave its ports unusable for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            listener.listen(64)
            return listener, port
        listener.close()
    raise SystemExit(f"no free port in {PORTS}")


def own_network() -> None:
    """Move this process to a network namespace of its own and switch its loopback on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare of the network")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        (flags,) = struct.unpack_from("h", request, 16)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def mount(*arguments: str | Path) -> None:
    """Call mount(8). Raises CalledProcessError when it fails."""
    subprocess.run(["mount", *arguments], check=True)


def bind(source: str | Path, place: Path, options: str = "bind") -> None:
    """Show a file or a folder at a second place."""
    mount("-o", options, source, place)


def register_binfmt(line: str, place: Path) -> None:
    """Have the kernel run arm64 binaries through qemu, unless a handler for them exists already.

    Only a handler with flag F works: the kernel keeps its interpreter open, so the phone needs none in its
    tree. The file system is mounted inside this namespace, so the workstation is left with no mount of it.
    """
    mount("-t", "binfmt_misc", "binfmt_misc", place)
    for handler in place.iterdir():
        if handler.name in ("register", "status"):
            continue
        text = handler.read_text(encoding="utf-8")
        if "aarch64" in text and "aarch64_be" not in text and text.startswith("enabled"):
            flags = text.partition("flags: ")[2].split("\n")[0]
            if "F" in flags:
                break
    else:
        with contextlib.suppress(FileExistsError):  # another phone, starting beside this one
            (place / "register").write_text(line, encoding="utf-8")
    # Unmounting it here would take the handler away again where nobody else has it mounted; it is covered by
    # the phone's root instead, and goes with the namespace.


def make_root(args: argparse.Namespace) -> None:
    """Build the phone's root: the shared tree read-only, this phone's own files, /proc, /dev, and a writable /data."""
    root: Path = args.folder / "root"
    data: Path = args.folder / "data"
    make_data(data, args)
    # sshd reads its host key as Termux's user, and refuses a key that other users can read.
    host_key: Path = args.folder / "etc/ssh/host_key"
    shutil.copyfile(args.folder / "host_key", host_key)
    give(host_key, args.termux_uid, 0o600)
    mount("-t", "tmpfs", "-o", "mode=755,size=1m", "phone", root)
    for name in ("usr", "system", "etc", "sys", "proc", "dev", "data", "sdcard"):
        (root / name).mkdir()
    (root / "bin").symlink_to("system/bin")
    (root / "lib").symlink_to("usr/lib")
    (root / "lib64").symlink_to("usr/lib64")
    for name in ("usr", "system"):
        bind(args.tree / name, root / name, "bind,ro")
    # Bound rather than copied, so that a test can change a temperature on the phone in the phone's folder.
    for name in ("etc", "sys"):
        bind(args.folder / name, root / name, "bind,ro")
    bind(data, root / "data")
    # As on a phone, nothing can be executed from the shared storage.
    bind(data / "media/0", root / "sdcard", "bind,noexec,nosuid,nodev")
    # Users see their own processes only, but for the group readproc, which Android's shell is in.
    mount("-t", "proc", "-o", "nosuid,nodev,noexec,hidepid=2,gid=3009", "proc", root / "proc")
    # The workstation's boot id would not change when the phone reboots.
    (args.folder / "proc/boot_id").write_text(f"{uuid.uuid4()}\n", encoding="utf-8")
    for name, place in (("cpuinfo", "cpuinfo"), ("meminfo", "meminfo"), ("boot_id", "sys/kernel/random/boot_id")):
        bind(args.folder / "proc" / name, root / "proc" / place, "bind,ro")
    make_dev(root / "dev")
    mount("-o", "remount,ro", root)


def make_data(data: Path, args: argparse.Namespace) -> None:
    """Create the folders below /data with the owners that Android gives them.

    Root changes no folder whose parent a user of the phone owns: that user could plant a link there.
    """
    for folder, uid, mode in (
        (data, 0, 0o755),
        (data / "local", 0, 0o755),
        (data / "local/tmp", args.shell_uid, 0o771),
        (data / "media", 0, 0o755),
        (data / "media/0", args.shell_uid, 0o777),
        (data / "data", 0, 0o755),
    ):
        folder.mkdir(exist_ok=True)
        give(folder, uid, mode)
    app = data / "data" / args.app
    if app.exists():
        return
    draft = app.with_name("draft")
    shutil.rmtree(draft, ignore_errors=True)
    for name in APP_FOLDERS:
        (draft / name).mkdir(parents=True)
    for folder in (draft, *draft.rglob("*")):
        give(folder, args.termux_uid, 0o700)
    draft.rename(app)


def give(path: Path, uid: int, mode: int) -> None:
    """Set the owner, the group of the same number, and the mode."""
    os.chown(path, uid, uid)
    path.chmod(mode)


def make_dev(dev: Path) -> None:
    """Create the few devices that a phone's shell needs."""
    mount("-t", "tmpfs", "-o", "mode=755,size=64k,nosuid", "dev", dev)
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (dev / name).touch()
        bind(f"/dev/{name}", dev / name)
    (dev / "pts").mkdir()
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=666,mode=600,nosuid,noexec", "devpts", dev / "pts")
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (dev / name).symlink_to(f"/proc/self/fd/{number}")


def start(argv: list[str], root: Path, uid: int, groups: list[int], env: dict[str, str]) -> int:
    """Start a daemon inside the phone as one of its users; return its process id."""
    chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if chroot is None:
        raise SystemExit("there is no chroot command")
    enter = [chroot, f"--userspec={uid}:{uid}", f"--groups={','.join(map(str, groups))}", str(root)]
    no_input = (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)
    # Python ignores these two signals, and its children would inherit that.
    default = [signal.SIGPIPE, signal.SIGXFSZ]
    return os.posix_spawn(chroot, [*enter, *argv], env, file_actions=[no_input], setsigdef=default)


def forward(listener: socket.socket, inner_port: int) -> None:
    """Forward every connection to the listener to the phone's loopback; never returns."""
    while True:
        outer, _ = listener.accept()
        try:
            inner = socket.create_connection(("127.0.0.1", inner_port))
        except OSError:  # the daemon does not listen now: the caller sees a closed connection
            outer.close()
            continue
        for end in (outer, inner):
            # adb's protocol is a dialogue of short packets.
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in ((outer, inner), (inner, outer)):
            threading.Thread(target=pump, args=(source, sink), daemon=True).start()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy one direction of a connection until its end, then close that direction."""
    buffer = memoryview(bytearray(1 << 18))
    with contextlib.suppress(OSError):
        while count := source.recv_into(buffer):
            sink.sendall(buffer[:count])
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def report(path: Path, state: dict[str, str | int]) -> None:
    """Write the state for the workstation, atomically, so that no reader sees a part of it."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(state), encoding="utf-8")
    draft.rename(path)


if __name__ == "__main__":
    sys.exit(main())
