"""The cost of adding a run to a long record, which must not grow with the record.

    python -m benchmarks.records [--runs 10000]

Runs that were really made (tests/data/campaign) are added to one campaign, with their samples. Last come the figures, a
JSON object a line, of the first and of the last tenth of the runs: `append_read_bytes`, bytes read for each run, as the
kernel counts them for this process (/proc/self/io), and `append_ms`, of which most is the disk's own time for fsync.
`record_bytes`: of runs.jsonl, for each run.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from smoothdroid.host.results.record import RUNS, append, read_campaign, read_runs, write_campaign

TEMPLATE = Path(__file__).parents[1] / "tests/data/campaign"


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    count = parser.parse_args().runs
    known = [(run, (TEMPLATE / run.samples).read_text(encoding="utf-8")) for run in read_runs(TEMPLATE)]
    taken: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory(prefix="smoothdroid-records-") as work:
        folder = Path(work)
        write_campaign(folder, read_campaign(TEMPLATE))
        for number, (run, samples) in enumerate(islice(cycle(known), count)):
            before, began = _read_bytes(), time.monotonic()
            append(folder, run.model_copy(update={"round": number}), samples)
            taken.append((_read_bytes() - before, (time.monotonic() - began) * 1000))
        record = (folder / RUNS).stat().st_size / count
    tenth = max(1, count // 10)
    for where, part in (("first", taken[:tenth]), ("last", taken[-tenth:])):
        for name, unit, place in (("append_read_bytes", "B", 0), ("append_ms", "ms", 1)):
            mean = sum(one[place] for one in part) / len(part)
            print(json.dumps({"name": f"{name}_{where}_tenth", "value": round(mean, 3), "unit": unit, "runs": count}))
    print(json.dumps({"name": "record_bytes", "value": round(record), "unit": "B", "runs": count}))


def _read_bytes() -> int:
    found = re.search(r"^rchar: (\d+)$", Path("/proc/self/io").read_text(encoding="utf-8"), re.MULTILINE)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    main()
