"""The overhead of the runner: tokens/s of llama-bench under the runner, relative to the bare command.

    python -m benchmarks.overhead [MODEL.gguf] [--on TARGET] [--pairs 6]

The runner journals, samples and holds the lock; the bare command is run by the way's own shell, and nothing looks at
it. Both in turn, the first of each pair changing, so that a phone that warms up slows both alike. Without a target an
emulated phone is started and stopped: its tokens/s say nothing of a phone's speed, their ratio says what the runner
takes of the CPUs that it shares with the benchmark. There a thread is left free, as a phone has CPUs to spare. Without
a model it is the sample's plain Q8_0. A cell below 20 s is refused: the start of a process would be most of its share.

Last come the figures, a JSON object a line: `tokens_per_second` is the geometric mean of the pairs' ratios, runner over
bare, with its 95 % interval (Student's t on logarithms): it contains 1 when no cost can be seen. `cpu_share` is the
processor time of the runner and its helpers over the time that the benchmark took, a share of one core. `follow_share`
is what `cpu_share` does not hold: the looks at the journal that a host asks for while it follows, each a few processes
of the phone. Measured over 20 s, three times, the phone otherwise idle. A host that went away costs none of it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import secrets
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.quality import prepare
from smoothdroid.device import virtual
from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.info.phone import describe
from smoothdroid.device.job.runner_install import install
from smoothdroid.device.job.session import WATCH_S, Session
from smoothdroid.device.job.task import Task
from smoothdroid.device.store import upload
from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.transport.target import Target
from smoothdroid.host.gguf import artifact
from smoothdroid.host.llamacpp import compile as compiler
from smoothdroid.host.llamacpp import source, variants
from smoothdroid.host.llamacpp.tool_output import parse_bench
from smoothdroid.host.model.checkpoint import sample
from smoothdroid.host.results.statistics import Interval, interval

TIMEOUT_S = 1800
SHORTEST_S = 20.0  # the runner's clock has 1/100 s: 1 % of this is 20 of its ticks
LOOKS = 3


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="default: the sample, plain Q8_0")
    parser.add_argument("--on", help="a target; default: an emulated phone of its own")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--generate", type=int, default=32, help="tokens of a repetition")
    parser.add_argument("--repetitions", type=int, default=4)
    arguments = parser.parse_args()
    with _phone(arguments.on) as target:
        command = _deployed(target, arguments.model or _sample())
        command += ["-t", str(arguments.threads), "-p", "0", "-n", str(arguments.generate)]
        command += ["-r", str(arguments.repetitions), "-o", "jsonl"]
        ratios, shares, job = [], [], f"overhead-{secrets.token_hex(3)}"
        for number in range(arguments.pairs):
            rates = {}
            for way in ("runner", "bare") if number % 2 else ("bare", "runner"):
                if way == "bare":
                    rates[way] = _rate(target.run(command, timeout_s=TIMEOUT_S).stdout)
                else:
                    stdout, share = _under_the_runner(target, command, f"{job}-{number}")
                    rates[way] = _rate(stdout)
                    shares.append(share)
            ratios.append(rates["runner"] / rates["bare"])
            print(
                f"pair {number + 1}: runner {rates['runner']:.3f}, bare {rates['bare']:.3f} tokens/s, "
                f"ratio {ratios[-1]:.4f}; the runner took {shares[-1]:.2%} of a core",
                flush=True,
            )
        looks = [_follow_share(target, f"{job}-look-{number}") for number in range(LOOKS)]
    logs = interval([math.log(ratio) for ratio in ratios])
    whole = Interval(math.exp(logs.mean), math.exp(logs.low), math.exp(logs.high), logs.n)
    _print_figure("tokens_per_second", whole, "ratio", "bare llama-bench on the same phone, in turn")
    _print_figure("cpu_share", interval(shares), "share of one core", "0.01")
    _print_figure("follow_share", interval(looks), "share of one core", "no host that follows")


@contextmanager
def _phone(on: str | None) -> Iterator[Target]:
    started = None if on else virtual.start(f"overhead-{os.getpid()}")
    target = open_target(on or f"virtual:{started.name}" if started else str(on))
    try:
        yield target
    finally:
        target.close()
        if started:
            virtual.stop(started.name, erase=True)


def _sample() -> Path:
    """Return the sample model, which is made once and cached."""
    work = cache_root() / "benchmarks" / "overhead"
    work.mkdir(parents=True, exist_ok=True)
    sample.make_sample(work / "sample")
    return prepare(work / "sample", work / "models", "--plain")


def _deployed(target: Target, model: Path) -> list[str]:
    """Return the beginning of the command line: llama-bench and the model on the phone."""
    phone = describe(target)
    origin = source.pinned()
    built = compiler.find(variants.runnable(phone.abi, phone.features), origin)
    if built is None:
        raise SystemExit(f"no build runs on {phone.model}: `smoothdroid build --on {target.name}` makes one")
    found = artifact.inspect(model)
    tool = upload.ensure(target, built.tool("llama-bench"), built.manifest.tools["llama-bench"], executable=True)
    return [tool, "-m", upload.ensure(target, found.path, found.sha256)]


def _under_the_runner(target: Target, command: list[str], job: str) -> tuple[str, float]:
    session = Session(target)
    session.start(job, [Task("cell", command, TIMEOUT_S)])
    (done,) = session.follow(job)
    session.remove(job)
    if done.ended.exit_status == 0 and done.ended.wall_s < SHORTEST_S:
        raise SystemExit(f"the cell took {done.ended.wall_s:.1f} s: raise --generate, {SHORTEST_S:.0f} s are the least")
    return done.stdout, done.ended.runner_cpu_s / done.ended.wall_s


def _follow_share(target: Target, job: str) -> float:
    """Return the share of a core that Session.follow uses on the phone while nothing happens."""
    session = Session(target)
    session.start(job, [Task("idle", ["sleep", str(10 * WATCH_S)], TIMEOUT_S)])
    journal = f"{target.root}/jobs/{job}/journal"
    while (told := target.run(["cat", journal]).stdout).count("\nbegin ") == 0:
        time.sleep(0.1)
    watch = ["-", "sh", install(target), "watch", target.root, job, str(len(told.splitlines())), str(WATCH_S)]
    before = time.monotonic()
    said = target.run(["sh", "-c", '"$@" >/dev/null; times', *watch], timeout_s=TIMEOUT_S).stdout
    took_s = time.monotonic() - before
    session.stop(job)
    session.remove(job)
    # POSIX's `times`: the shell's own user and system time, and below it its children's.
    children = re.findall(r"(\d+)m *(\d+\.\d+)s", said)[2:]
    return sum(60 * int(minutes) + float(seconds) for minutes, seconds in children) / took_s


def _rate(stdout: str) -> float:
    """Return all tokens divided by all time."""
    return statistics.harmonic_mean(parse_bench(stdout)[0].samples_ts)


def _print_figure(name: str, found: Interval, unit: str, against: str) -> None:
    value, low, high = (round(end, 5) for end in (found.mean, found.low, found.high))
    print(json.dumps({"name": name, "value": value, "low": low, "high": high, "unit": unit, "against": against}))


if __name__ == "__main__":
    main()
