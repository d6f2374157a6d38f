"""The start of an emulated phone: its files, its first process, and the wait until its daemons answer."""

from __future__ import annotations

import contextlib
import platform
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import paramiko

from smoothdroid.device.common.atomic_file import replacing
from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.device.virtual import render, tree
from smoothdroid.device.virtual.host import QEMU, start_as_root
from smoothdroid.device.virtual.profile import Profile
from smoothdroid.device.virtual.state import INIT, VirtualPhone, kill, read

START_TIMEOUT_S = 60.0

_BINFMT = (
    r":smoothdroid-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:QEMU:OPF"
)
"""The kernel's Documentation/admin-guide/binfmt-misc.rst: 64-bit little-endian ELF, executable or PIE, arm64.

F: the kernel opens qemu now, so it need not be in the phone's tree; P: qemu learns the program's argv[0].
"""


def prepare(folder: Path, facts: Profile) -> None:
    """Write the phone's own files. Its storage (data/) and its keys stay from an earlier run."""
    for name in ("proc", "sys", "etc"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "running.json").unlink(missing_ok=True)
    for name in ("root", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("ssh_key", "host_key"):
        if not (folder / name).exists():
            key = paramiko.ECDSAKey.generate()
            with replacing(folder / name) as new:
                key.write_private_key_file(str(new))
                (folder / f"{name}.pub").write_text(f"{key.get_name()} {key.get_base64()}\n", encoding="utf-8")
    public_key = (folder / "ssh_key.pub").read_text(encoding="utf-8")
    for name, text in render.files(facts, folder.name, public_key).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        # The phone's users must be able to read them, so the mode does not depend on this process's umask.
        path.chmod(0o644)
        for parent in path.parents:
            if parent == folder:
                break
            parent.chmod(0o755)


def boot(name: str, profile: str, facts: Profile, folder: Path, root_tree: Path) -> VirtualPhone:
    """Start the phone's first process and wait until adbd and sshd answer.

    Raises SmoothdroidError, with the end of the phone's log, when they do not.
    """
    log = folder / "log"
    with log.open("wb") as output:
        # It starts in this session, which init.py leaves.
        process = start_as_root(_init_command(name, profile, facts, folder, root_tree), output)
    try:
        # Without a wait, it would stay a zombie of this process after the phone is stopped.
        threading.Thread(target=process.wait, daemon=True).start()
        return _await(process, folder)
    except TimeoutError as error:
        kill(folder)
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["(empty)"]
        raise SmoothdroidError(
            f"the phone {name!r} did not start: {error}. The end of {log}:\n  " + "\n  ".join(lines[-8:])
        ) from error
    except BaseException:  # Ctrl-C too
        kill(folder)
        raise


def _init_command(name: str, profile: str, facts: Profile, folder: Path, root_tree: Path) -> list[str]:
    unshare = ["unshare", "--mount", "--propagation=private", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
    # -I: root must not import modules from the current folder or the user's site-packages.
    init = [sys.executable, "-I", str(INIT), f"--folder={folder}", f"--name={name}", f"--profile={profile}"]
    init += [f"--tree={root_tree}", f"--adbd={tree.ADBD}", f"--ssh-port={render.INNER_SSH_PORT}"]
    # Derived from the name, so that a phone has the same ports after its next start.
    init += [f"--first-port={zlib.crc32(name.encode())}"]
    init += [f"--shell-uid={render.SHELL_UID}", f"--termux-uid={render.TERMUX_UID}", f"--app={render.TERMUX_APP}"]
    init += [f"--env={key}={value}" for key, value in render.environment(facts).items()]
    if platform.machine() != "aarch64":
        init += [f"--binfmt={_BINFMT.replace('QEMU', str(QEMU))}"]
    return unshare + init


def _await(process: subprocess.Popen[bytes], folder: Path) -> VirtualPhone:
    """Wait until both daemons answer. Raises TimeoutError, which names the one that did not."""
    deadline = time.monotonic() + START_TIMEOUT_S
    waiting_for = "its first process did not report"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TimeoutError(f"its first process ended with status {process.returncode}")
        if phone := read(folder):
            waiting_for = "adbd did not answer"
            if _adbd_answers(phone.adb_port):
                waiting_for = "sshd did not answer"
                if _sshd_answers(phone.ssh_port):
                    return phone
        time.sleep(0.02)
    raise TimeoutError(f"{waiting_for} within {START_TIMEOUT_S:.0f} s")


def _adbd_answers(port: int) -> bool:
    """Return whether an adbd answers the first message of adb's protocol (AOSP, packages/modules/adb/protocol.txt)."""
    banner = b"host::\0"
    connect = int.from_bytes(b"CNXN", "little")
    hello = struct.pack("<6I", connect, 0x01000000, 4096, len(banner), sum(banner), connect ^ 0xFFFFFFFF)
    return _answer(port, hello + banner).startswith(b"CNXN")


def _sshd_answers(port: int) -> bool:
    return _answer(port, b"").startswith(b"SSH-")


def _answer(port: int, hello: bytes) -> bytes:
    """Send `hello` to a port and return the first four bytes of its answer; fewer when it sends less."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(hello)
        return connection.recv(4, socket.MSG_WAITALL)
    return b""
