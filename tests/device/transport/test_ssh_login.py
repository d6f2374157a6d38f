"""Tests of logging in as ssh would, and of the messages on failure, with a real sshd and a real ssh-agent."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput, NoPhone, SmoothdroidError, Unreachable
from smoothdroid.device.transport.ssh import SshOptions, SshTarget
from tests.device.sshd import INSIDE, Sshd, sshd
from tests.ports import free_port
from tests.waiting import eventually

__all__ = ["sshd"]

pytestmark = pytest.mark.e2e

AddKey = Callable[[Path], None]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sshd: Sshd) -> Path:
    """The home folder of a user who knows the host, and has no key."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_bytes(sshd.known_hosts.read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


EMPTY = 1
"""The exit status of `ssh-add -l` when an agent without keys answers; 2 while none does."""


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AddKey]:
    """A running ssh-agent; adds keys to it."""
    place = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
    eventually(lambda: subprocess.run(["ssh-add", "-l"], capture_output=True, check=False).returncode == EMPTY)
    yield lambda key: subprocess.run(["ssh-add", "-q", str(key)], check=True).check_returncode()
    process.kill()
    process.wait()


def new_key(path: Path, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)
    return path


def configure(home: Path, text: str) -> None:
    (home / ".ssh/config").write_text(text, encoding="utf-8")


def works(url: str, options: SshOptions | None = None) -> None:
    target = SshTarget(url, options)
    try:
        assert target.run(["echo", "here"]).stdout == "here\n"
    finally:
        target.close()


def refusal(url: str, options: SshOptions | None = None) -> SmoothdroidError:
    """Return the error of a failed login, after which nothing of the connection is left."""
    before = threading.active_count()
    with pytest.raises(SmoothdroidError) as error:
        SshTarget(url, options)
    eventually(lambda: threading.active_count() <= before)
    return error.value


# --- the configuration ----------------------------------------------------------------------------------------


@pytest.mark.fault(
    "the phone is an alias in ~/.ssh/config, with its address, port, user and key there",
    transport="ssh",
    outcome="reached as ssh reaches it; what the URL says wins",
)
def test_an_alias_of_the_configuration_is_reached(sshd: Sshd, home: Path) -> None:
    configure(
        home,
        f"Host pixel\n HostName 127.0.0.1\n Port {sshd.port}\n User plain\n IdentityFile ~/missing\n"
        f" IdentityFile {sshd.key}\n",
    )
    works("ssh://pixel")
    works(f"ssh://fish@pixel:{sshd.jump_port}")
    target = SshTarget("ssh://pixel")
    assert target.name == f"ssh://plain@pixel:{sshd.port}"
    assert target.root == f"{sshd.folder}/home/plain/.smoothdroid"
    target.close()
    assert "Connection refused" in str(refusal("ssh://pixel:1"))


@pytest.mark.fault(
    "the phone is reached through a jump host (ProxyJump)",
    transport="ssh",
    outcome="reached through it, with the jump host's own settings",
)
@pytest.mark.parametrize("jumps", ["gate", "gate,ssh://csh@127.0.0.1:{port}"])
def test_a_jump_host_leads_to_the_phone(sshd: Sshd, home: Path, jumps: str) -> None:
    configure(
        home,
        f"Host gate\n HostName 127.0.0.1\n User greeting\n Port {sshd.jump_port}\n"
        f"Host pixel\n HostName {INSIDE}\n User plain\n ProxyJump {jumps.format(port=sshd.port)}\n Port {sshd.port}\n"
        f"Host *\n IdentityFile {sshd.key}\n",
    )
    works("ssh://pixel")
    works("ssh://pixel", SshOptions(sshd.key))


def test_a_jump_host_that_leads_nowhere_is_named(sshd: Sshd, home: Path) -> None:
    configure(
        home,
        f"Host gate\n HostName 127.0.0.1\n User plain\n Port {sshd.jump_port}\n IdentityFile {sshd.key}\n"
        f"Host pixel\n HostName {INSIDE}\n ProxyJump gate\nHost loop\n ProxyJump loop\n"
        "Host shut\n ProxyJump closed@gate\n",
    )
    error = refusal("ssh://shut")
    assert type(error) is NoPhone
    assert "closed@gate does not forward connections to ssh://" in str(error)
    error = refusal("ssh://pixel:1")
    assert isinstance(error, Unreachable)
    assert "cannot be reached through gate" in str(error)
    with pytest.raises(BadInput, match="ProxyJump leads from loop through more than"):
        SshTarget("ssh://loop")


def test_a_proxy_command_leads_to_the_phone(sshd: Sshd, home: Path) -> None:
    relay = home / "relay.py"
    relay.write_text(
        "import os, socket, sys, threading\n"
        "end = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def out():\n"
        "    while data := end.recv(65536):\n"
        "        os.write(1, data)\n"
        "    os._exit(0)\n"
        "threading.Thread(target=out).start()\n"
        "while data := os.read(0, 65536):\n"
        "    end.sendall(data)\n"
        "os._exit(0)\n",
        encoding="utf-8",
    )
    configure(
        home,
        f"Host pixel\n HostName 127.0.0.1\n Port {sshd.port}\n User plain\n IdentityFile {sshd.key}\n"
        f" ProxyCommand {sys.executable} {relay} %h %p\n"
        "Host broken\n ProxyCommand false\n",
    )
    works("ssh://pixel")
    error = refusal("ssh://broken")
    assert isinstance(error, Unreachable)
    assert "nothing there speaks SSH through `false`" in str(error)


def test_only_the_named_identities_are_offered_where_the_configuration_says_so(
    sshd: Sshd, home: Path, agent: AddKey
) -> None:
    agent(sshd.key)
    other = new_key(home / "other")
    configure(home, f"Host *\n IdentitiesOnly yes\n IdentityFile {other}\n")
    assert f"it does not accept {other}" in str(refusal(sshd.url("plain")))
    # One that the agent holds may be named by its public half.
    public = home / "held.pub"
    public.write_bytes((sshd.folder / "key.pub").read_bytes())
    configure(home, f"Host *\n IdentitiesOnly yes\n IdentityFile {public}\n")
    works(sshd.url("plain"))


# --- keys -------------------------------------------------------------------------------------------------------


def test_default_keys_and_those_of_the_agent_log_in(sshd: Sshd, home: Path, agent: AddKey) -> None:
    new_key(home / ".ssh/id_ed25519")
    agent(sshd.key)
    works(sshd.url("plain"))
    (home / ".ssh/id_ed25519").write_bytes(sshd.key.read_bytes())
    os.environ.pop("SSH_AUTH_SOCK")
    works(sshd.url("plain"))


@pytest.mark.fault(
    "there is no key to log in with", transport="ssh", outcome="refused at once: ssh-keygen, ssh-copy-id, --ssh-key"
)
def test_without_any_key_it_says_how_to_make_one(sshd: Sshd) -> None:
    error = refusal(sshd.url("plain"))
    assert type(error) is NoPhone
    assert "refused the login: there is no key" in str(error)
    assert f"`ssh-copy-id -p {sshd.port} plain@127.0.0.1`" in str(error)
    assert "`ssh-keygen`" in str(error)
    assert "--ssh-key" in str(error)


@pytest.mark.fault(
    "ssh-agent holds more keys than the phone lets be tried, the right one last",
    transport="ssh",
    outcome="refused at once: name the right one with --ssh-key",
)
def test_too_many_keys_are_said_to_be_too_many(sshd: Sshd, home: Path, agent: AddKey) -> None:
    for number in range(8):
        agent(new_key(home / f"key{number}"))
    agent(sshd.key)
    error = refusal(sshd.url("plain"))
    assert type(error) is NoPhone
    assert "too many keys offered. Name the right one with --ssh-key" in str(error)
    works(sshd.url("plain"), SshOptions(sshd.key))
    configure(home, f"Host *\n IdentityFile {sshd.key}\n")
    works(sshd.url("plain"))


@pytest.mark.fault(
    "the only key has a passphrase, and ssh-agent does not hold it",
    transport="ssh",
    outcome="refused at once: ssh-add it",
)
def test_a_key_with_a_passphrase_is_named(sshd: Sshd, home: Path) -> None:
    key = new_key(home / ".ssh/id_ed25519", "secret")
    error = refusal(sshd.url("plain"))
    assert type(error) is NoPhone
    assert f"no key could be offered. {key} has a passphrase: `ssh-add {key}`" in str(error)


def test_a_key_that_the_agent_holds_may_have_a_passphrase(sshd: Sshd, home: Path, agent: AddKey) -> None:
    agent(sshd.key)
    locked = home / "locked"
    locked.write_bytes(sshd.key.read_bytes())
    locked.chmod(0o600)
    Path(f"{locked}.pub").write_bytes((sshd.folder / "key.pub").read_bytes())
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(locked)], check=True, capture_output=True)
    works(sshd.url("plain"), SshOptions(locked))


@pytest.mark.fault(
    "the phone does not know the key",
    transport="ssh",
    outcome="refused at once, with the keys offered and how to add one",
)
def test_a_key_that_is_refused_is_named(sshd: Sshd, home: Path) -> None:
    key = new_key(home / ".ssh/id_ed25519")
    error = refusal(sshd.url("plain"))
    assert type(error) is NoPhone
    assert f"refused the login: it does not accept {key}" in str(error)
    assert "authorized_keys" in str(error)


def test_a_phone_that_takes_passwords_only_is_named(sshd: Sshd) -> None:
    error = refusal(sshd.url("passwords"), sshd.options())
    assert type(error) is NoPhone
    assert "accepts no keys, only password" in str(error)


def test_an_agent_that_does_not_answer_has_no_keys(
    sshd: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    assert "there is no key" in str(refusal(sshd.url("plain")))
    works(sshd.url("plain"), sshd.options())


# --- the host ---------------------------------------------------------------------------------------------------


def test_a_damaged_list_of_known_hosts_still_knows_the_host(sshd: Sshd, home: Path) -> None:
    """The lines are of paramiko #1346 and #490: `@cert-authority`, a truncated key, invalid UTF-8."""
    known = home / ".ssh/known_hosts"
    before = f"@cert-authority *.corp.example {sshd.host_key}\n[127.0.0.1]:{sshd.port} {sshd.host_key[:40]}\n"
    known.write_bytes(before.encode() + b"\xff\xfe\n" + known.read_bytes())
    works(sshd.url("plain"), SshOptions(sshd.key))


def test_a_revoked_host_key_is_refused(sshd: Sshd, home: Path) -> None:
    with (home / ".ssh/known_hosts").open("a", encoding="utf-8") as file:
        file.write(f"@revoked * {sshd.host_key}\n")
    error = refusal(sshd.url("plain"), SshOptions(sshd.key))
    assert type(error) is NoPhone
    assert "marked as @revoked" in str(error)


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_a_host_is_asked_for_the_kind_of_key_that_is_known(sshd: Sshd, home: Path, kind: str) -> None:
    """A host has several keys, and shows the kind that it is asked for first."""
    known = home / ".ssh/known_hosts"
    lines = [line for line in known.read_text(encoding="utf-8").splitlines(keepends=True) if f" {kind} " in line]
    known.write_text("".join(lines), encoding="utf-8")
    works(sshd.url("plain"), SshOptions(sshd.key))


# --- nothing there ----------------------------------------------------------------------------------------------


@pytest.mark.fault(
    "nothing listens at the phone's address, as while it starts",
    transport="ssh",
    outcome="said with what to look at; who waits for the phone asks again",
)
def test_a_port_where_nothing_listens_may_have_a_phone_later(tmp_path: Path) -> None:
    error = refusal(f"ssh://user@127.0.0.1:{free_port()}")
    assert type(error) is Unreachable
    assert "Is `sshd` running in Termux" in str(error)


def test_a_name_that_is_not_known_is_said_to_be_unknown() -> None:
    error = refusal("ssh://user@no-such-phone.invalid")
    assert type(error) is Unreachable
    assert "the name no-such-phone.invalid cannot be resolved" in str(error)


@pytest.mark.parametrize(
    "says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200, b"SSH-2.0-x\r\n\0\0\0\x0c\n" + b"\0" * 99]
)
def test_what_speaks_no_ssh_is_named(says: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as caller:
                caller.sendall(says)

        thread = threading.Thread(target=answer)
        thread.start()
        error = refusal(f"ssh://user@127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert type(error) is Unreachable
    assert "nothing there speaks SSH" in str(error)


@pytest.mark.fault(
    "paramiko logs a traceback of its own",
    transport="ssh",
    outcome="nothing of it reaches the terminal",
)
def test_paramikos_log_never_reaches_the_terminal(tmp_path: Path) -> None:
    script = (
        "import logging, smoothdroid.device.transport.ssh as ssh, smoothdroid.device.common.errors as errors, socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "import threading\n"
        "threading.Thread(target=lambda: server.accept()[0].close()).start()\n"
        "try:\n"
        "    ssh.SshTarget(f'ssh://me@127.0.0.1:{server.getsockname()[1]}')\n"
        "except errors.Unreachable:\n"
        "    print('unreachable')\n"
        "logging.getLogger('paramiko.transport').error('said')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("unreachable\n", "")
    assert logging.getLogger("paramiko").handlers
