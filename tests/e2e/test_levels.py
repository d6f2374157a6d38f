"""Which build a phone gets, by what its cores say; and that the choice matters."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from smoothdroid.device.virtual import VirtualPhone
from tests.e2e.conftest import Cli, emulated, pixel
from tests.host.tiny_gguf import Q8_0, write_llama

pytestmark = pytest.mark.e2e

ONE_CELL = ("--threads", "1", "--prompt", "4", "--generate", "0", "--rounds", "1", "-r", "1")


def test_an_older_phone_gets_the_level_that_it_can_run(cli: Cli, older_phone: VirtualPhone, tmp_path: Path) -> None:
    model, on = write_llama(tmp_path / "tiny.gguf", Q8_0), f"virtual:{older_phone.name}"
    told = json.loads(cli("bench", model, "--on", on, *ONE_CELL, "-o", tmp_path / "results", "--json").stdout)
    (run,) = told["runs"]
    assert (run["failure"], len(run["tokens_per_s"])) == (None, 1)
    campaign = json.loads((Path(told["folder"]) / "campaign.json").read_text())
    assert campaign["build_isa"] == "v8.0"
    reason = "every CPU has asimd; dotprod needs asimddp: no CPU has asimddp"
    assert campaign["build_reason"] == f"v8.0 is the best: {reason}"
    assert reason in cli("devices", "-v", "--on", on).stdout


def test_a_cpu_that_lacks_what_it_claims_is_a_failed_cell_with_the_reason(cli: Cli, tmp_path: Path) -> None:
    """/proc/cpuinfo says i8mm, the CPU has not even dotprod: the binary dies, and the record says of what."""
    profile = tmp_path / "liar.toml"
    profile.write_text(pixel(cpu="cortex-a57"))
    with contextmanager(emulated)("liar", str(profile)) as phone:
        on = f"virtual:{phone.name}"
        arguments = (*ONE_CELL, "-o", tmp_path / "results")
        model = write_llama(tmp_path / "tiny.gguf", Q8_0)
        (run,) = json.loads(cli("bench", model, "--on", on, *arguments, "--json", status=1).stdout)["runs"]
    assert "illegal instruction" in run["failure"]
    assert run["tokens_per_s"] == []
