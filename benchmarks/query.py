"""The duration of a query over many campaigns: by default 10,000 campaigns of 1,000 cells each.

    python -m benchmarks.query [--campaigns 10000] [--cells 1000] [--judged 4]

A run that was really made (tests/data/campaign, on the emulated phone) is the template: `--judged` campaigns are made
of it, each cell with a setting and rates of its own and the template's samples. These are judged, as any results are:
`index_ms_per_campaign`. To judge all would take as many times as long. So the others are folders that share runs and
samples with one of them through links, and their rows in the index are copies with other rates and fingerprints: a
query reads from the index what it would read had all been judged, and looks at every folder, as it always does to see
whether the index still holds.

Last come the figures, a JSON object a line. `query_seconds`: `smoothdroid query` from the start of its process to its
end (the best, median and worst rate for each phone, test and number of threads, over all cells); median, lowest and
highest of `--rounds`; against the 10 s that it may take. `index_ms_per_campaign`: judging and storing one, on all CPUs.
`record_bytes_per_cell` and `index_bytes_per_cell`: on disk. `query_peak_gib`: the largest query process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb

from smoothdroid.host.query import index
from smoothdroid.host.results.cell import Test
from smoothdroid.host.results.record import CAMPAIGN, RUNS, SAMPLES, read_campaign, read_runs, write_campaign

TEMPLATE = Path(__file__).parents[1] / "tests/data/campaign"
THREADS = list(range(1, 9))
AT_ONCE = 250  # campaigns: what one statement copies stays in memory until it is done
LIMIT_S = 10.0
QUESTION = """
SELECT phone, test, n_threads, count(tokens_per_s) believed, max(tokens_per_s) best, median(tokens_per_s) middle,
       min(tokens_per_s) worst
FROM cells GROUP BY ALL ORDER BY best DESC LIMIT 20
"""
COPY_CELLS = """
INSERT INTO cells SELECT judged.number, cells.* EXCLUDE campaign_number REPLACE (
    left(md5(cells.fingerprint || judged.number), 16) AS fingerprint,
    cells.tokens_per_s * (0.8 + 0.4 * random()) AS tokens_per_s)
FROM copies JOIN judged USING (campaign) JOIN cells ON cells.campaign_number = copies.original
"""
COPY_RUNS = """
INSERT INTO runs SELECT judged.number, runs.* EXCLUDE campaign_number REPLACE (
    left(md5(runs.fingerprint || judged.number), 16) AS fingerprint)
FROM copies JOIN judged USING (campaign) JOIN runs ON runs.campaign_number = copies.original
"""
COPY_CAMPAIGNS = """
INSERT INTO campaigns SELECT judged.number, campaigns.* EXCLUDE campaign_number REPLACE (copies.campaign AS campaign)
FROM copies JOIN judged USING (campaign) JOIN campaigns ON campaigns.campaign_number = copies.original
"""


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=10_000)
    parser.add_argument("--cells", type=int, default=1_000, help="of a campaign; a multiple of 8")
    parser.add_argument("--judged", type=int, default=4, help="campaigns whose index is measured")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="smoothdroid-query-") as work:
        os.environ["SMOOTHDROID_CACHE"] = str(Path(work) / "cache")
        _measure(Path(work) / "results", arguments)


def _measure(results: Path, arguments: argparse.Namespace) -> None:
    made = [_make(results / f"judged-{number}", number, arguments.cells) for number in range(arguments.judged)]
    began = time.monotonic()
    with index.current(made, on_progress=_say) as current:
        judged_ms = (time.monotonic() - began) * 1000 / len(made)
    copies = {}
    for number in range(arguments.campaigns - len(made)):
        original = made[number % len(made)]
        copies[_copy(original, results / f"{number % 100:02}" / f"copy-{number}")] = original
    _fill(current.path, copies)
    told = [_ask(results) for _ in range(arguments.rounds)]
    cells = arguments.campaigns * arguments.cells
    _print_figure("query_seconds", told, "s", f"{LIMIT_S:g}, over {cells} cells in {arguments.campaigns} campaigns")
    _print_figure("index_ms_per_campaign", [judged_ms], "ms", f"{arguments.cells} cells each, {os.cpu_count()} CPUs")
    record = sum(file.stat().st_size for file in made[0].rglob("*") if file.is_file()) / arguments.cells
    _print_figure("record_bytes_per_cell", [record], "B", "campaign.json, a run and its samples")
    _print_figure("index_bytes_per_cell", [current.path.stat().st_size / cells], "B", "a cell with one run")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    _print_figure("query_peak_gib", [peak], "GiB", "the largest process")


def _make(folder: Path, number: int, cells: int) -> Path:
    """Write a campaign to evaluate."""
    chance = random.Random(number)  # noqa: S311 (no secret)
    known = read_campaign(TEMPLATE)
    model = known.plan.models[0]
    tests = [
        Test(n_prompt=16 * length) if length % 2 else Test(n_gen=8 * length)
        for length in range(1, cells // len(THREADS) + 1)
    ]
    plan = known.plan.model_copy(
        update={"models": [model], "tests": tests, "threads": THREADS, "masks": [()], "options": known.plan.options[:1]}
    )
    phone = known.phone.model_copy(update={"model": f"Phone {number}", "id": f"{number:012x}"})
    campaign = known.model_copy(update={"id": f"{number:08x}", "plan": plan, "phone": phone})
    write_campaign(folder, campaign)
    template = next(run for run in read_runs(TEMPLATE) if run.bench and run.cell.test.n_gen and not run.cell.cpus)
    samples = (
        (TEMPLATE / template.samples).read_text(encoding="utf-8").replace("\t324000", "\t1704000")
    )  # at full speed: believed
    (folder / SAMPLES).mkdir()
    lines = []
    for cell in plan.cells():
        name = cell.fingerprint(phone.id, campaign.transport, campaign.build_id)
        rates = [chance.gauss(10, 0.05) for _ in template.tokens_per_s]
        run = template.model_copy(update={"cell": cell, "fingerprint": name, "tokens_per_s": rates})
        lines.append(run.model_dump_json() + "\n")
        (folder / run.samples).write_text(samples, encoding="utf-8")
    (folder / RUNS).write_text("".join(lines), encoding="utf-8")
    return folder


def _copy(original: Path, folder: Path) -> Path:
    """Copy a campaign."""
    folder.mkdir(parents=True)
    (folder / CAMPAIGN).write_bytes((original / CAMPAIGN).read_bytes())
    (folder / RUNS).hardlink_to(original / RUNS)
    (folder / SAMPLES).symlink_to(original / SAMPLES)
    return folder


def _fill(path: Path, copies: dict[Path, Path]) -> None:
    """Add the rows of the copies to the index, as if they had been evaluated."""
    with duckdb.connect(path) as connection:
        numbers = dict(connection.execute("SELECT campaign, number FROM judged").fetchall())
        rows = [(str(folder), index.stamp(folder), numbers[str(original)]) for folder, original in copies.items()]
        folders, stamps, originals = (list(column) for column in zip(*rows, strict=True))
        told = "SELECT unnest(?::VARCHAR[]) campaign, unnest(?::VARCHAR[]) stamp, unnest(?::INTEGER[]) original"
        connection.execute(f"CREATE TEMP TABLE copies AS {told}", [folders, stamps, originals])
        connection.execute("INSERT INTO judged SELECT campaign, stamp, '', nextval('numbers') FROM copies")
        for start in range(0, len(rows), AT_ONCE):
            part = f"(SELECT * FROM copies LIMIT {AT_ONCE} OFFSET {start}) copies"  # noqa: S608 (numbers)
            for statement in (COPY_CAMPAIGNS, COPY_CELLS, COPY_RUNS):
                connection.execute(statement.replace("FROM copies", f"FROM {part}"))
            _say("copying campaigns", start, len(rows))


def _ask(results: Path) -> float:
    command = [
        sys.executable,
        "-c",
        "from smoothdroid.host.cli import main; main()",
        "query",
        QUESTION,
        str(results),
        "--json",
    ]
    began = time.monotonic()
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    took_s = time.monotonic() - began
    if "judging" in answer.stderr or not json.loads(answer.stdout):
        raise SystemExit(f"the index did not hold, or there was no answer: {answer.stderr}")
    return took_s


def _say(label: str, done: int, total: int) -> None:
    print(f"{label}: {done}/{total}", file=sys.stderr)


def _print_figure(name: str, values: Sequence[float], unit: str, against: str) -> None:
    value, low, high = (round(end, 3) for end in (statistics.median(values), min(values), max(values)))
    print(json.dumps({"name": name, "value": value, "low": low, "high": high, "unit": unit, "against": against}))


if __name__ == "__main__":
    main()
