from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.bench.builds import check_runnable, why_this_build
from smoothdroid.host.llamacpp.compile import Build, BuildManifest
from tests.host.fakes import phone


def test_a_build_that_the_phone_cannot_run_is_refused() -> None:
    check_runnable(["asimd", "i8mm"], phone(features=["asimd", "i8mm"]))
    with pytest.raises(BadInput, match="lacks asimddp, i8mm"):
        check_runnable(["asimd", "asimddp", "i8mm"], phone(features=["asimd"]))


@pytest.mark.parametrize(
    ("level", "isa", "reason"),
    [
        ("fp16", None, "fp16 is the best: every CPU has"),
        ("v8.0", None, "fp16 would be the best, but is not built: every CPU has"),
        ("v8.0", "v8.0", "requested with --isa v8.0; the best would be fp16: "),
        ("all", None, "it holds every level, and llama.cpp's loader picks one; the best single level would be fp16"),
    ],
)
def test_why_a_phone_got_a_build(tmp_path: Path, level: str, isa: str | None, reason: str) -> None:
    manifest = BuildManifest(id="0", abi="arm64-v8a", isa=level, needs=[], source="", commit="", toolchain="", tools={})
    described = phone(features=["asimd", "asimddp", "asimdhp", "fphp"])
    why = why_this_build(Build(tmp_path, manifest), described, isa)
    assert why.startswith(reason)
    assert why.endswith("i8mm needs i8mm: no CPU has i8mm")
