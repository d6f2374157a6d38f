"""The SSH keys to log in with: the one that was named, or those of ssh-agent and of ~/.ssh."""

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
"""The exceptions of paramiko for a file that cannot be used as a key; TypeError for one with a passphrase."""


@dataclass
class Keys:
    """Keys to offer, in this order."""

    offered: dict[str, paramiko.PKey] = field(default_factory=dict)
    """The keys by a name for messages: a path, or a key of the agent."""
    locked: list[Path] = field(default_factory=list)
    """The files of keys with a passphrase that the agent does not hold."""

    def add(self, label: str, key: paramiko.PKey) -> None:
        """Add a key unless it is already offered."""
        if not any(key.asbytes() == other.asbytes() for other in self.offered.values()):
            self.offered[label] = key


@contextmanager
def keys_for(host: Host, named: Path | None) -> Iterator[Keys]:
    """Yield the keys for a host: only `named`, or those of the configuration, the agent and OpenSSH's default files.

    As in OpenSSH, `IdentitiesOnly` excludes the agent's keys that are not identity files. Unlike in OpenSSH, files that
    the configuration names come before the agent's other keys, because a host allows few attempts. The agent
    answers until the block ends. Raises BadInput for a `named` key that cannot be used.
    """
    agent = None
    with suppress(paramiko.SSHException, OSError):  # no agent answers
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
    """Offer an identity file's key, from the agent if it holds it."""
    if agents := _of_agent(path, held):
        keys.add(str(path), agents)
        return
    try:
        keys.add(str(path), paramiko.PKey.from_path(path))
    except (paramiko.PasswordRequiredException, TypeError):
        keys.locked.append(path)
    except UNUSABLE:
        return  # OpenSSH also skips it


def _of_agent(path: Path, held: dict[bytes, paramiko.AgentKey]) -> paramiko.AgentKey | None:
    """Return the agent's key whose public half is in the file or beside it; None if it has none."""
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
