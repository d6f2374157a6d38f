"""This machine, as if it were a phone: what a plan does can be tried without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from smoothdroid.device.common.atomic_file import replacing
from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import CommandFailed, TargetTimeout
from smoothdroid.device.transport.receiver import is_ready, pieces, receiver
from smoothdroid.device.transport.target import Completed, OnOutput, Output, Progress, command_line

SH = "/bin/sh"
CHUNK = 1 << 16


class LocalTarget:
    """This machine."""

    kind = "local"
    name = "local:"

    def __init__(self) -> None:
        """Nothing to connect to."""
        self.root = str(cache_root() / "local")

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        check: bool = True,
        on_output: OnOutput | None = None,
        tied: bool = False,
    ) -> Completed:
        """See Target.run. Goes through a shell as on a phone, so that quoting and exit statuses are the same."""
        process = subprocess.Popen(
            [SH, "-c", command_line(argv, env, tied=tied)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        expired = threading.Event()

        def end() -> None:
            expired.set()
            _kill(process)

        timer = threading.Timer(timeout_s, end)
        timer.start()
        stderr = bytearray()
        reader = threading.Thread(target=lambda: stderr.extend(process.stderr.read() if process.stderr else b""))
        reader.start()
        stdout = Output(self.name, argv, on_output)
        with process:
            try:
                while process.stdout and (data := os.read(process.stdout.fileno(), CHUNK)):
                    stdout.add(data)
                reader.join()
            except BaseException:
                _kill(process)
                raise
            finally:
                timer.cancel()
        if expired.is_set():
            raise TargetTimeout(f"{self.name}: `{argv[0]}` did not end in {timeout_s:.0f} s")
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        done = Completed(status, str(stdout), stderr.decode("utf-8", "replace"))
        if check and status != 0:
            raise CommandFailed(self.name, argv, status, done.stdout, done.stderr)
        return done

    def push(self, source: Path, remote: str, *, mode: int = 0o600, progress: Progress | None = None) -> None:
        """See Target.push."""
        try:
            shutil.copyfile(source, remote)
            Path(remote).chmod(mode)
        except OSError as error:
            raise CommandFailed(self.name, ["cp", str(source), remote], 1, stderr=str(error)) from error
        if progress:
            size = source.stat().st_size
            progress(size, size)

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        """See Target.append."""
        said = b""
        with subprocess.Popen(
            [SH, "-c", receiver(remote, start)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            assert process.stdin  # noqa: S101 (asked for above)
            assert process.stdout  # noqa: S101
            try:
                said = process.stdout.readline()
                is_ready(said, self.name, remote)
                for piece in pieces(source, start, progress):
                    process.stdin.write(piece)
            except BrokenPipeError:
                process.stdin = None  # a full disk: what is there is for the caller to see
            except BaseException:
                process.kill()
                raise

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        """See Target.pull."""
        with replacing(destination) as part:
            self.push(Path(remote), str(part), mode=0o644, progress=progress)

    def close(self) -> None:
        """See Target.close."""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the shell and what it started: a benchmark left running would spoil the next one."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        return
