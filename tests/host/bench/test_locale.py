"""Records are UTF-8 whatever the locale, as on a Korean machine with an old one (pydantic-i18n #251: cp949)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from smoothdroid.host.results.record import CAMPAIGN, RUNS, read_campaign, read_runs

ROOT = Path(__file__).parents[3]
PROMPT = "안녕하세요? °C ±"
WRITES = f"""
import locale, sys
from pathlib import Path
locale.setlocale(locale.LC_ALL, "")
print(locale.getpreferredencoding(False))
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from smoothdroid.host.results.record import append, read_campaign, read_runs, write_campaign
from smoothdroid.host.query.index import current
from tests.host.fakes import campaign, model, phone, run_of
tests = [Test(prompt={PROMPT!a}, n_gen=4)]
plan = Plan(models=[model("a")], threads=[1], tests=tests, protocol=Protocol(repetitions=1))
known = campaign(plan, phone(model={PROMPT!a}))
folder = Path(sys.argv[1])
write_campaign(folder, known)
append(folder, run_of(known, *plan.cells(), failure={PROMPT!a}), "column\\ttime\\n" + {PROMPT!a} + "\\n")
assert read_campaign(folder) == known
assert [run.failure for run in read_runs(folder)] == [{PROMPT!a}]
with current([folder]) as index:
    assert not index.damaged, index.damaged
"""


@pytest.fixture
def korean(tmp_path: Path) -> dict[str, str]:
    """The environment of a locale in EUC-KR; where none can be made, of one in ASCII."""
    environment = {
        **os.environ,
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "SMOOTHDROID_CACHE": str(tmp_path / "c"),
    }
    if shutil.which("localedef"):
        made = ["localedef", "--no-archive", "-i", "ko_KR", "-f", "EUC-KR", str(tmp_path / "ko_KR.euckr")]
        if subprocess.run(made, capture_output=True, check=False).returncode <= 1:  # 1: with warnings
            return environment | {"LOCPATH": str(tmp_path), "LC_ALL": "ko_KR.euckr"}
    return environment | {"LC_ALL": "C"}


@pytest.mark.fault(
    "the workstation's locale is not UTF-8 (EUC-KR), and a prompt or a phone's name is Korean",
    transport="workstation",
    outcome="campaign.json, runs.jsonl and samples are UTF-8; they are read back and queried there",
)
def test_records_are_utf_8_in_every_locale(tmp_path: Path, korean: dict[str, str]) -> None:
    folder = tmp_path / "campaign"
    done = subprocess.run(
        [sys.executable, "-c", WRITES, str(folder)], env=korean, cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert done.stdout.strip().lower() in (b"euc-kr", b"euc_kr", b"ansi_x3.4-1968")
    assert PROMPT in (folder / CAMPAIGN).read_text(encoding="utf-8")
    assert PROMPT in (folder / RUNS).read_text(encoding="utf-8")
    assert read_campaign(folder).phone.model == PROMPT
    assert [run.failure for run in read_runs(folder)] == [PROMPT]
