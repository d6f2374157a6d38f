"""A real sshd of this machine, with a user for each kind of login shell, in namespaces that end with it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from smoothdroid.device.transport.ssh import SshOptions, SshTarget
from smoothdroid.device.virtual.host import as_root
from tests.ports import free_port
from tests.waiting import eventually

UID = 10217  # Termux's apps have such numbers
HOST_KEYS = {"host_key": "ed25519", "host_key_ecdsa": "ecdsa", "host_key_rsa": "rsa"}
INSIDE = "phone.inside"  # a name of this machine that only the sshd knows


@dataclass(frozen=True)
class User:
    """A user, with a login shell and what it reads when it starts."""

    name: str
    shell: str = "/bin/bash"
    start_up: str = ""
    start_up_file: str = ".bashrc"  # bash reads it under sshd, without a terminal too
    home: str | None = None
    sshd: str = ""
    """Lines of sshd_config for this user."""


USERS = [
    User("plain", "/bin/sh"),
    User("greeting", start_up='echo "Welcome to Termux!"'),
    User("colours", start_up=r"printf '\033[1;32m~ $ \033[0m'; printf 'no line end' >&2"),
    User("farewell", start_up="trap 'echo bye; echo bye >&2' EXIT; echo hello"),
    User("binary", start_up="head -c 100000 /dev/urandom; head -c 1000 /dev/urandom >&2"),
    User("lingering", start_up="sleep 600 & echo started"),
    User("traced", start_up="set -x"),
    User("fish", "/usr/bin/fish", "echo welcome to fish; echo warning >&2", ".config/fish/config.fish"),
    User("csh", "/usr/bin/tcsh", "echo welcome to tcsh\nset prompt='%~ > '", ".tcshrc"),
    User("endless", start_up="yes welcome"),
    User("leaving", start_up="echo no more; exit 3"),
    User("other", start_up="echo this is no shell; exec cat"),
    User("nobody", "/usr/sbin/nologin"),
    User("homeless", "/bin/sh", home="/no/such/home"),
    User("oddhome", "/bin/sh", sshd='SetEnv "HOME=relative/home"'),
    User("lines", "/bin/sh", sshd='SetEnv "HOME=/tmp/\u202ehome"'),
    User(
        "llama",
        start_up="export GGML_OP_OFFLOAD_MIN_BATCH=1 LLAMA_ARG_FLASH_ATTN='off * LLAMA_ARG-x=1'",
        sshd='SetEnv LLAMA_ARG_CACHE_TYPE_K=q4_0 "LLAMA_ARG_THREADS=3" OTHER=kept',
    ),
    User("closed", sshd="AllowTcpForwarding no"),
    User("passwords", sshd="PubkeyAuthentication no\nPasswordAuthentication yes"),
]


@dataclass(frozen=True)
class Sshd:
    """Where it listens, and what logs in there."""

    folder: Path
    port: int
    jump_port: int
    """A second sshd, for the same users."""
    dropbear_port: int
    """A dropbear, for the same users; it has no SFTP."""

    @property
    def key(self) -> Path:
        """The private key that logs in."""
        return self.folder / "key"

    @property
    def host_key(self) -> str:
        """The kind and the public half of the host key, as known_hosts has them."""
        return " ".join((self.folder / "host_key.pub").read_text(encoding="utf-8").split()[:2])

    @property
    def known_hosts(self) -> Path:
        """A file that knows it."""
        return self.folder / "known_hosts"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def url(self, user: str, port: int | None = None) -> str:
        return f"ssh://{user}@127.0.0.1:{port or self.port}"

    def options(self) -> SshOptions:
        return SshOptions(self.key, self.known_hosts)

    @contextmanager
    def target(self, user: str, port: int | None = None) -> Iterator[SshTarget]:
        target = SshTarget(self.url(user, port), self.options())
        try:
            yield target
        finally:
            target.close()


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    """The sshd, for the tests of a module."""
    for program in ("sshd", "dropbear", "fish", "tcsh"):
        if shutil.which(program, path="/usr/sbin:/usr/bin") is None:
            pytest.fail(f"these tests log in at an SSH daemon, and {program} is missing: `scripts/setup --tests`")
    folder = Path(tempfile.mkdtemp(prefix="sshd-"))  # not below pytest's, which others may not enter
    folder.chmod(0o755)
    ports = [free_port() for _ in range(3)]
    _write(folder, ports)
    with (folder / "log").open("wb") as log:
        start = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        process = subprocess.Popen(
            as_root([*start, "sh", str(folder / "start")]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        for port in ports:
            eventually(partial(_answers, port, process, folder / "log"), f"nothing listens at port {port}")
        yield Sshd(folder, *ports)
    finally:
        if os.geteuid() == 0:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            subprocess.run(as_root(["sh", "-c", f"kill -9 -{process.pid}"]), check=False)
        process.wait()
        subprocess.run(as_root(["rm", "-rf", "--one-file-system", "--", str(folder)]), check=True)


def _write(folder: Path, ports: list[int]) -> None:
    known = []
    for name, kind in {"key": "ed25519", **HOST_KEYS}.items():
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(folder / name)], check=True)
    for name in HOST_KEYS:
        host_key = (folder / f"{name}.pub").read_text(encoding="utf-8")
        known += [f"[{host}]:{port} {host_key}" for port in ports for host in ("127.0.0.1", INSIDE)]
    (folder / "known_hosts").write_text("".join(known), encoding="utf-8")
    shutil.copyfile(folder / "key.pub", folder / "authorized_keys")
    convert = ["dropbearconvert", "openssh", "dropbear", str(folder / "host_key"), str(folder / "host_key.dropbear")]
    subprocess.run(convert, check=True, capture_output=True)
    passwd = Path("/etc/passwd").read_text(encoding="utf-8").splitlines(keepends=True)
    names = {user.name for user in USERS}
    lines = [line for line in passwd if line.split(":")[0] not in names]
    matches = []
    for user in USERS:
        home = folder / "home" / user.name
        file = home / user.start_up_file
        file.parent.mkdir(parents=True)
        file.write_text(user.start_up + "\n", encoding="utf-8")
        (home / ".ssh").mkdir(mode=0o700)  # where dropbear looks
        shutil.copyfile(folder / "key.pub", home / ".ssh/authorized_keys")
        lines.append(f"{user.name}:*:{UID}:{UID}::{user.home or home}:{user.shell}\n")
        if user.sshd:
            matches.append(f"Match User {user.name}\n{user.sshd}\n")
    (folder / "passwd").write_text("".join(lines), encoding="utf-8")
    (folder / "hosts").write_text(f"127.0.0.1 localhost {INSIDE}\n", encoding="utf-8")
    *openssh, dropbear = ports
    for port in openssh:
        settings = [f"ListenAddress 127.0.0.1:{port}", "PidFile none", "UsePAM no"]
        settings += [f"HostKey {folder}/{name}" for name in HOST_KEYS]
        settings += ["UseDNS no", f"AuthorizedKeysFile {folder}/authorized_keys", "StrictModes no", "MaxStartups 100"]
        # No `Subsystem sftp`: as Termux's dropbear, or an OpenSSH without openssh-sftp-server.
        text = "\n".join([*settings, "PasswordAuthentication no", "PrintMotd yes", *matches])
        (folder / f"config-{port}").write_text(text + "\n", encoding="utf-8")
    daemons = [f"/usr/sbin/sshd -D -e -f {folder}/config-{port} &" for port in openssh]
    # -s: no passwords. It takes its own form of a key.
    daemons.append(f"/usr/sbin/dropbear -F -E -s -p 127.0.0.1:{dropbear} -r {folder}/host_key.dropbear &")
    start = "\n".join(daemons)
    (folder / "start").write_text(
        f"set -e\nmkdir -p /run/sshd\nchown -R {UID}:{UID} {folder}/home\nchown 0:0 {folder}/host_key*\n"
        f"mount --bind {folder}/passwd /etc/passwd\nmount --bind {folder}/hosts /etc/hosts\n{start}\nwait\n",
        encoding="utf-8",
    )


def _answers(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
