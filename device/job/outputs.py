"""The outputs of a task that ended: collected from the phone and checked against the journal."""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.device.common.errors import CommandFailed, Damaged
from smoothdroid.device.job.connection import Connection
from smoothdroid.device.job.journal import Ended
from smoothdroid.device.telemetry import series
from smoothdroid.device.telemetry.series import Samples
from smoothdroid.device.transport.target import Target

MOST_COLLECTED_BYTES = 64 << 20
"""The limit of an output: what a phone sends is untrusted until checked, and a day of samples is 20 MB."""


@dataclass(frozen=True)
class Done:
    """A task that ended, with everything that the phone kept of it."""

    ended: Ended
    stdout: str
    stderr: str
    samples: Samples | None
    """None when every attempt was cut short."""
    raw_samples: str


def collect(connection: Connection, folder: str, ended: Ended) -> Done:
    """Collect the outputs of a task from its job's folder. Raises Damaged when they are not what the runner wrote."""
    if ended.sha256 == "-":
        return Done(ended, "", "", None, "")
    output = f"{folder}/{ended.cell}.{ended.attempt}"
    try:
        texts = connection.retry(lambda target: _pull(target, output))
        if hashlib.sha256(b"".join(texts)).hexdigest() != ended.sha256:
            raise ValueError(".stdout, .stderr or .samples: not what the runner wrote when the cell ended")
        stdout, stderr, sampled = (text.decode("utf-8", "replace") for text in texts)
        return Done(ended, stdout, stderr, _parsed(sampled), sampled)
    except ValueError as error:
        raise Damaged(connection.target.name, f"{output}{error}. The cell counts as not measured") from error


def _pull(target: Target, output: str) -> list[bytes]:
    """Pull standard output, standard error and samples. Raises ValueError when one is lost, unreadable or too large."""
    texts = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("stdout", "stderr", "samples"):
            size = target.run(["wc", "-c", f"{output}.{kind}"], check=False).stdout.split()
            if not size or not re.fullmatch(r"[0-9]{1,18}", size[0]):
                raise ValueError(f".{kind} is gone or cannot be read")
            if int(size[0]) > MOST_COLLECTED_BYTES:
                raise ValueError(f".{kind} has {size[0]} bytes, more than any runner writes")
            file = Path(folder, kind)
            try:
                target.pull(f"{output}.{kind}", file)
            except CommandFailed as error:
                raise ValueError(f".{kind} cannot be read ({error})") from error
            texts.append(file.read_bytes())
    return texts


def _parsed(samples: str) -> Samples:
    try:
        return series.parse(samples)
    except ValueError as error:
        raise ValueError(f".samples: {error}") from error
