"""What is fuzzed: real inputs, what reads them, and the errors that its callers are prepared for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.device.info.battery import parse_battery
from smoothdroid.device.info.cpu import parse_clusters, parse_features, parse_lacking
from smoothdroid.device.info.phone import parse as parse_phone
from smoothdroid.device.job.journal import Journal
from smoothdroid.device.telemetry import series
from smoothdroid.device.telemetry.conditions import Conditions
from smoothdroid.host.bench import request
from smoothdroid.host.farm import inventory
from smoothdroid.host.gguf import artifact
from smoothdroid.host.llamacpp.kernel_log import parse_kernels
from smoothdroid.host.llamacpp.tool_output import NoNumber, parse_bench, parse_completion
from smoothdroid.host.model.provenance import inspect
from smoothdroid.host.report.data.rows import as_facts, evaluate_campaign
from smoothdroid.host.results.record import CAMPAIGN, RUNS, conditions, observation, read_campaign, read_runs
from tests.host.fakes import write_gguf
from tests.host.tiny_gguf import write_llama

DATA = Path(__file__).parents[1] / "data"

Read = Callable[[bytes, Path], object]
"""Reads an input; the folder is its own, to write into."""


@dataclass(frozen=True)
class Fuzzed:
    """One kind of input."""

    inputs: Callable[[Path], Sequence[bytes]]
    """Real ones; the folder is for making some."""
    read: Read
    errors: tuple[type[Exception], ...]
    """Those that callers handle."""
    mutations: int


def _files(*patterns: str, most: int = 1 << 20) -> Callable[[Path], Sequence[bytes]]:
    """The files of tests/data that fit, up to a size."""

    def found(_: Path) -> Sequence[bytes]:
        files = sorted(file for pattern in patterns for file in DATA.glob(pattern))
        return [file.read_bytes() for file in files if file.stat().st_size <= most]

    return found


def _text(content: bytes) -> str:
    """As a phone's output is decoded."""
    return content.decode("utf-8", "replace")


def _journals(_: Path) -> Sequence[bytes]:
    sums = ("ab" * 32, "0123456789abcdef" * 4, "-")
    begins = "runner 12 boot-1 1795400000 .\nwaited one-0 1 301 thermal_zone0 26000 .\nbegin one-0 1 1795400003 .\n"
    ends = [f"end one-0 1 {status} {how} 351 2 {sums[number]} .\n" for number, (status, how) in enumerate(HOWS)]
    again = "runner 99 boot-2 1795400090 .\nwaited two-1 2 0 - - .\nbegin two-1 2 1795400091 .\n"
    return [f"{begins}{end}{again}end two-1 2 0 exited 5 0 {sums[0]} .\nfinished .\n".encode() for end in ends]


HOWS = ((0, "exited"), (137, "timeout"), (7, "abandoned"))


def _journal(content: bytes, _: Path) -> None:
    text, journal = _text(content), Journal()
    ended = journal.read(text)
    assert len(ended) <= text.count("\n")
    assert all(math.isfinite(one.wall_s) for one in ended)


def _samples(content: bytes, _: Path) -> None:
    found = series.parse(_text(content))
    found.held([0, 1])
    Conditions.of(found).model_dump_json()
    assert all(math.isfinite(at) for at in found.time_s)
    assert all(math.isfinite(celsius) for one in found.observation.samples for celsius in one.celsius.values())


def _phone(content: bytes, _: Path) -> None:
    found = parse_phone(_text(content), "adb:X")
    found.model_dump_json()
    assert found.cpu_count <= len(content)


def _cpuinfo(content: bytes, _: Path) -> None:
    text = _text(content)
    clusters = parse_clusters(text, "\n".join(text.split("\n")[:20]))
    assert sum(len(cluster.cpus) for cluster in clusters) <= len(content)
    parse_features(text)
    parse_lacking(text)


def _battery(content: bytes, _: Path) -> None:
    found = parse_battery(_text(content))
    assert found.level_percent is None or 0 <= found.level_percent <= 100


def _bench(content: bytes, _: Path) -> None:
    assert all(0 < rate < math.inf for one in parse_bench(_text(content)) for rate in one.samples_ts)


def _completion(content: bytes, _: Path) -> None:
    text = _text(content)
    parse_kernels(text).model_dump_json()
    assert 0 < parse_completion(text).generated_tps < math.inf


def _campaign(content: bytes, folder: Path) -> None:
    (folder / CAMPAIGN).write_bytes(content)
    read_campaign(folder).model_dump_json()


def _campaign_of(runs: bytes) -> bytes:
    """Return the kept campaign.json that names the models of these runs; any other where damage hides a model."""
    campaigns = [file.read_bytes() for file in (DATA / "campaign" / CAMPAIGN, *DATA.glob(f"results/*/{CAMPAIGN}"))]
    models = re.findall(rb'"model_sha256": *"(\w+)"', runs)
    return next((campaign for campaign in campaigns if all(model in campaign for model in models)), campaigns[0])


def _runs(content: bytes, folder: Path) -> None:
    (folder / CAMPAIGN).write_bytes(_campaign_of(content))
    (folder / RUNS).write_bytes(content)
    damage: list[str] = []
    for run in read_runs(folder, damage):
        run.model_dump_json()
    assert all(RUNS in one for one in damage)
    read_runs(folder)


def _lines_of_runs(_: Path) -> Sequence[bytes]:
    """A few lines each, of every schema."""
    found = []
    for file in (DATA / "campaign" / RUNS, *sorted(DATA.glob(f"results/*/{RUNS}"))):
        lines = file.read_bytes().splitlines(keepends=True)
        found += [b"".join(lines[start : start + 2]) for start in (0, 4)]
    return found


def _section(content: bytes, folder: Path) -> None:
    """A run and its samples, in a campaign that is judged and shown."""
    known = DATA / "results" / "schema-2"
    if not (folder / CAMPAIGN).exists():
        (folder / CAMPAIGN).write_bytes((known / CAMPAIGN).read_bytes())
        (folder / "samples").mkdir()
    lines, _, samples = content.partition(b"==samples\n")
    (folder / RUNS).write_bytes(lines)
    damage: list[str] = []
    for run in read_runs(folder, damage):
        file = folder / run.samples
        if file.parent == folder / "samples" and len(file.name) < 200:
            file.write_bytes(samples)
            observation(folder, run, damage)
            conditions(folder, run, damage)
    json.dumps(as_facts(evaluate_campaign(folder, damage)), allow_nan=False)


def _runs_with_samples(_: Path) -> Iterator[bytes]:
    known = DATA / "results" / "schema-2"
    for line in (known / RUNS).read_bytes().splitlines(keepends=True)[:4]:
        facts = json.loads(line)
        samples = known / "samples" / f"{facts['fingerprint']}-{facts['round']}.{facts['job']}.tsv"
        yield line + b"==samples\n" + samples.read_bytes()


def _ggufs(folder: Path) -> Sequence[bytes]:
    small, other = write_gguf(folder / "small.gguf"), write_gguf(folder / "other.gguf", architecture="gemma2")
    tiny = write_llama(folder / "tiny.gguf", letters="abc")  # mostly weights: a third of the damage is enough
    return [file.read_bytes() for file in (small, other, tiny)]


def _gguf(content: bytes, folder: Path) -> None:
    path = folder / "model.gguf"
    path.write_bytes(content)
    for read in (artifact.read, inspect.inspect):
        read(path)


def _plan(content: bytes, folder: Path) -> None:
    (folder / "plan.toml").write_bytes(content)
    request.read_plan_file(folder / "plan.toml")


def _plans(_: Path) -> Sequence[bytes]:
    return [
        b'models = ["a.gguf"]\nprompt = [512, 16]\nthreads = "1-8"\ncpus = ["big"]\nrepetitions = 3\n'
        b'[[for]]\nphones = { soc = "zuma" }\nthreads = 4\n',
        b'models = "a*.gguf"\nask = ["What is \\u1234?"]\nuntil = "2%"\ncool = "start+2"\nseed = 7\n',
    ]


def _inventory(content: bytes, folder: Path) -> None:
    (folder / "farm.toml").write_bytes(content)
    inventory.read(folder / "farm.toml")


def _inventories(_: Path) -> Sequence[bytes]:
    return [
        b'quarantine_after = 3\n[phones.desk]\non = "adb:X"\nlabels = ["a"]\n[phones.shelf]\non = "ssh://u@h:8022"\n'
    ]


LOGS = [f"phones/outputs/{name}*.txt" for name in ("common_perf_print", "llama_perf_context_print_8", "llama_print")]

FUZZED: dict[str, Fuzzed] = {
    "journals": Fuzzed(_journals, _journal, (ValueError, SmoothdroidError), 1500),
    "samples": Fuzzed(_files("campaign/samples/*.tsv", most=9000), _samples, (ValueError,), 1200),
    "descriptions": Fuzzed(_files("phones/*.txt"), _phone, (SmoothdroidError,), 1500),
    "cpuinfo": Fuzzed(_files("phones/cpuinfo/*"), _cpuinfo, (SmoothdroidError,), 1000),
    "batteries": Fuzzed(_files("phones/battery/*"), _battery, (), 500),
    "llama-bench": Fuzzed(_files("phones/outputs/llama-bench_b*"), _bench, (NoNumber,), 500),
    "logs": Fuzzed(_files(*LOGS), _completion, (NoNumber,), 500),
    "campaigns": Fuzzed(_files(f"campaign/{CAMPAIGN}", f"results/*/{CAMPAIGN}"), _campaign, (SmoothdroidError,), 900),
    "runs": Fuzzed(_lines_of_runs, _runs, (SmoothdroidError,), 900),
    "results": Fuzzed(lambda folder: list(_runs_with_samples(folder)), _section, (SmoothdroidError,), 400),
    "GGUF headers": Fuzzed(_ggufs, _gguf, (SmoothdroidError,), 1200),
    "plans": Fuzzed(_plans, _plan, (SmoothdroidError,), 300),
    "inventories": Fuzzed(_inventories, _inventory, (SmoothdroidError,), 200),
}
