"""The keys to log in with: those named, those of ssh-agent, those in ~/.ssh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.pkey import PublicBlob, UnknownKeyType

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.transport.ssh_config import Host

UNUSABLE = (paramiko.SSHException, OSError, ValueError, TypeError, UnknownKeyType, UnsupportedAlgorithm)
"""What paramiko raises for a file that it cannot use as a key; TypeError for one with a passphrase."""


@dataclass
class Keys:
    """Keys to offer, in this order."""

    offered: dict[str, paramiko.PKey] = field(default_factory=dict)
    """By what the user knows them: a path, or a key of the agent."""
    locked: list[Path] = field(default_factory=list)
    """Files with a passphrase that the agent does not hold."""

    def add(self, label: str, key: paramiko.PKey) -> None:
        """Offer one more key, unless it is among them."""
        if not any(key.asbytes() == other.asbytes() for other in self.offered.values()):
            self.offered[label] = key


@contextmanager
def keys_for(host: Host, named: Path | None) -> Iterator[Keys]:
    """The keys for a host: `named` alone; else the configuration's, the agent's, and OpenSSH's default files.

    As OpenSSH does, `IdentitiesOnly` leaves out what the agent holds beyond the identity files. Other than OpenSSH,
    files that the configuration names come before the agent's other keys: a host takes a few tries only. The agent
    answers until the context ends. Raises BadInput for a `named` key that cannot be used.
    """
    agent = None
    with suppress(paramiko.SSHException, OSError):  # an agent that does not answer has no keys
        agent = paramiko.Agent()
    if agent is None:
        yield _collect(host, named, {})
        return
    with closing(agent):
        yield _collect(host, named, {key.asbytes(): key for key in agent.get_keys()})


def _collect(host: Host, named: Path | None, held: dict[bytes, paramiko.AgentKey]) -> Keys:
    keys = Keys()
    if named is not None:
        key = _of_agent(named, held) or _load(named)
        keys.add(str(named), key)
        return keys
    files = Keys()
    for path in host.identity_files:
        _take(path, held, files)
    keys.locked = files.locked
    if host.identities_named:
        keys.offered = dict(files.offered)
    if not host.identities_only:
        for number, agents in enumerate(held.values(), 1):
            keys.add(f"ssh-agent's key {number} {agents.comment or ''}".rstrip(), agents)
    for label, key in files.offered.items():
        keys.add(label, key)
    return keys


def _take(path: Path, held: dict[bytes, paramiko.AgentKey], keys: Keys) -> None:
    """Offer an identity file's key, from the agent where it holds it."""
    if agents := _of_agent(path, held):
        keys.add(str(path), agents)
        return
    try:
        keys.add(str(path), paramiko.PKey.from_path(path))
    except (paramiko.PasswordRequiredException, TypeError):
        keys.locked.append(path)
    except UNUSABLE:
        return  # OpenSSH passes over it, too


def _of_agent(path: Path, held: dict[bytes, paramiko.AgentKey]) -> paramiko.AgentKey | None:
    """The agent's key whose public half lies in the file, or beside it."""
    for public in (Path(f"{path}.pub"), path):
        with suppress(*UNUSABLE):
            if key := held.get(PublicBlob.from_string(public.read_text(encoding="utf-8")).key_blob):
                return key
    return None


def _load(path: Path) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path)
    except FileNotFoundError as error:
        raise BadInput(f"there is no SSH key {path}") from error
    except UNUSABLE as error:
        raise BadInput(
            f"{path} cannot be used as an SSH key: {error}. One with a passphrase works through ssh-agent: "
            "`ssh-add` it, and leave --ssh-key out"
        ) from error
