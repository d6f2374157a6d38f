"""A simulated phone: a Target that answers with random durations and measures nothing.

It answers what device/job/session.py, device/store/upload.py and device/info/phone.py ask, and refuses all other
commands. What its runner would write into its journal follows from the drawn times and the clock.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.device.common.errors import CommandFailed
from smoothdroid.device.info.phone import DESCRIBE
from smoothdroid.device.transport.target import Completed, OnOutput, Progress

SAMPLES = b"column\ttime\n"
TICKS_PER_S = 100
LOOK_S = 0.05  # how late the phone itself notices; on a real one it is 0.3 to 1.2

Seconds = Callable[[Mapping[str, str]], float]
"""From llama-bench's options to how long it takes."""


@dataclass(frozen=True)
class _Event:
    at: float
    line: str


class DrawnPhone:
    """One simulated phone."""

    kind = "adb"

    def __init__(self, name: str, described: str, seconds: Seconds) -> None:
        """Simulate a phone of this name, description and durations."""
        self.name, self.root = f"adb:{name}", "/data/local/tmp/smoothdroid"
        self.busy_s = 0.0
        """Of all that it was given to measure."""
        self._described = f"==getprop\n[ro.serialno]: [{name}]\n" + described.partition("\n")[2]
        self._seconds = seconds
        self._files: dict[str, bytes] = {}
        self._events: dict[str, list[_Event]] = {}

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
        """Answer a command; see Target.run."""
        status, said = self._answer(list(argv))
        if check and status:
            raise CommandFailed(self.name, argv, status, said)
        return Completed(status, said, "")

    def push(self, source: Path, remote: str, *, mode: int = 0o644, progress: Progress | None = None) -> None:
        """Accept a file; see Target.push."""
        self._files[remote] = source.read_bytes()

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        """Accept the rest of a file; see Target.append."""
        self._files[remote] = self._files.get(remote, b"")[:start] + source.read_bytes()[start:]

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        """Return a file; see Target.pull."""
        destination.write_bytes(self._files[remote])

    def close(self) -> None:
        """Do nothing; see Target.close."""

    def _answer(self, argv: list[str]) -> tuple[int, str]:
        match argv:
            case ["sh", "-c", script, *_] if script == DESCRIBE.read_text(encoding="utf-8"):
                return 0, self._described
            case ["sh", runner, verb, _, job, *more] if runner.endswith("/runner.sh"):
                return 0, getattr(self, f"_{verb}")(job, *more)
            case ["sh", "-c", _, "lacks", *_]:
                return 0, ""
            case ["sh", "-c", _, "look", folder, name, *_]:
                return 0, f"whole {name}\n" if f"{folder}/{name}" in self._files else ""
            case ["sh", "-c", _, "publish", folder, part, name, _]:
                self._files[f"{folder}/{name}"] = self._files.pop(f"{folder}/{part}")
                return 0, ""
            case ["stat", "-c", "%s", path] if path in self._files:
                return 0, str(len(self._files[path]))
            case ["sh", "-c", _, "installed", folder]:
                return 0, hashlib.sha256(
                    b"".join(self._files[name] for name in sorted(self._below(folder)))
                ).hexdigest()
            case ["test", "-e", path]:
                return int(not self._below(path)), ""
            case ["ls", path]:
                return 0, "\n".join({name[len(path) + 1 :].partition("/")[0] for name in self._below(path)})
            case ["mkdir", "-p", _]:
                return 0, ""
            case ["mv", old, new]:
                for name in self._below(old):
                    self._files[new + name[len(old) :]] = self._files.pop(name)
                return 0, ""
            case ["rm", *_, path]:
                for name in self._below(path):
                    del self._files[name]
                return 0, ""
            case ["cat", path]:
                return 0, self._files[path].decode()
            case ["wc", "-c", path]:
                return 0, f"{len(self._files[path])} {path}"
            case ["sha256sum", path]:
                return 0, f"{hashlib.sha256(self._files[path]).hexdigest()}  {path}"
            case ["df", "-k", _]:
                return 0, "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/x 99999999 1 99999998 1% /data"
        return 127, f"a phone that is not there has no answer to {argv}"

    def _below(self, path: str) -> list[str]:
        return [name for name in self._files if name == path or name.startswith(f"{path}/")]

    # --- the runner's verbs

    def _state(self, job: str) -> str:
        now = time.monotonic()
        working = [job for job, events in self._events.items() if events[-1].at > now]
        return f"running {working[0]}" if working else "idle"

    def _start(self, job: str, _: str) -> str:
        if job not in self._events:
            self._events[job] = self._measure(job)
        return f"running {job}"

    def _stop(self, job: str, _: str) -> str:
        """Accept the order to stop a job that has ended; no other can be stopped."""
        if self._events[job][-1].at > time.monotonic():
            raise NotImplementedError(f"{self.name} measures {job} to its end")
        return ""

    def _remove(self, job: str) -> str:
        for name in self._below(f"{self.root}/jobs/{job}"):
            del self._files[name]
        return self._stop(job, "")

    def _watch(self, job: str, seen: str, wait_s: str) -> str:
        events, until = self._events[job], time.monotonic() + float(wait_s)
        new = events[int(seen)].at if int(seen) < len(events) else until
        time.sleep(max(min(new, until) - time.monotonic(), 0) + LOOK_S)
        now = time.monotonic()
        lines = [event.line for event in events if event.at <= now]
        return "\n".join(["at-work" if len(lines) < len(events) else "ended", *lines[int(seen) :], ""])

    def _measure(self, job: str) -> list[_Event]:
        folder, at, began = f"{self.root}/jobs/{job}", time.monotonic(), int(time.time())
        events = [_Event(at, f"runner 1 boot {began} .")]
        commands = self._files[f"{folder}/commands.sh"].decode().splitlines()
        for cell, argv in zip(commands[1::3], commands[2::3], strict=False):
            words = [word for word in shlex.split(argv) if word != "-v"]
            options = {word: value for word, value in itertools.pairwise(words) if word.startswith("-")}
            took_s = self._seconds(options)
            self.busy_s += took_s
            name = cell.removesuffix(")")
            texts = {"stdout": _record(options, took_s), "stderr": b"", "samples": SAMPLES}
            self._files |= {f"{folder}/{name}.1.{kind}": text for kind, text in texts.items()}
            sha256 = hashlib.sha256(b"".join(texts.values())).hexdigest()
            events.append(_Event(at, f"begin {name} 1 {began} ."))
            at += took_s
            events.append(_Event(at, f"end {name} 1 0 exited {round(took_s * TICKS_PER_S)} 0 {sha256} ."))
        return [*events, _Event(at, "finished .")]


def _record(options: Mapping[str, str], took_s: float) -> bytes:
    """Return the output that llama-bench would print."""
    tokens, repetitions = int(options["-p"]) + int(options["-n"]), int(options["-r"])
    rate = tokens * repetitions / took_s
    told = {
        "build_commit": "drawn",
        "cpu_info": "none",
        "model_type": "tiny",
        "model_size": 1,
        "model_n_params": 1,
        "n_batch": int(options.get("-b", 1)),
        "n_ubatch": int(options.get("-ub", 1)),
        "n_threads": int(options["-t"]),
        "n_prompt": int(options["-p"]),
        "n_gen": int(options["-n"]),
        "n_depth": int(options.get("-d", 0)),
        "samples_ns": [round(1e9 * tokens / rate)] * repetitions,
        "samples_ts": [rate] * repetitions,
    }
    return json.dumps(told).encode() + b"\n"
