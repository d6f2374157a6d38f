"""The blocks of README.md and docs/, run as they stand there, with emulated phones called as they are there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smoothdroid.device import virtual
from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.transport import adb
from tests.docs.blocks import PAGES, ROOT, blocks_of
from tests.e2e.conftest import SMOOTHDROID, TARGET
from tests.host.tiny_gguf import Q8_0, write_llama

pytestmark = pytest.mark.e2e

MODEL = "SmolLM2-135M-Instruct"


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A cache in which all is as in the user's, but for the phones: no other one is called as those of the pages."""
    if TARGET:
        pytest.skip(f"the pages name emulated phones, and SMOOTHDROID_TEST_TARGET is {TARGET}")
    cache = tmp_path_factory.mktemp("cache")
    for path in cache_root().iterdir():
        if path.name not in ("phones", "phones.lock"):
            (cache / path.name).symlink_to(path)
    programs = f"{SMOOTHDROID.parent}{os.pathsep}{os.environ['PATH']}"
    yield {**os.environ, "SMOOTHDROID_CACHE": str(cache), "PATH": programs}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMOOTHDROID_CACHE", str(cache))
        for phone in virtual.running():
            adb.disconnect(phone.adb_address)
            virtual.stop(phone.name, erase=True)


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[bool], Path]:
    """Where a page's blocks are run: with what the tutorial prepares, or with tiny models under the same names."""

    def made(prepares: bool) -> Path:
        (tmp_path / "out").mkdir()
        if prepares:
            # Found there, it is not made again.
            prepared: Path = request.getfixturevalue("prepared")
            (tmp_path / "models").symlink_to(prepared.with_name("models"))
            for path in prepared.iterdir():
                (tmp_path / "out" / path.name).hardlink_to(path)
        else:
            write_llama(tmp_path / "out" / f"{MODEL}-plain-q8_0.gguf", Q8_0)
            write_llama(tmp_path / "out" / f"{MODEL}-smooth-q8_0.gguf", Q8_0, letters="▁zyxwvutsrqponmlkjihgfedcba.,")
        return tmp_path

    return made


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.is_run for b in blocks_of(page))], ids=name)
def test_a_page_does_what_it_says(page: Path, environment: dict[str, str], folder: Callable[[bool], Path]) -> None:
    blocks = list(blocks_of(page))
    work = folder(any("smoothdroid prepare" in block.text for block in blocks if block.is_run))
    for block in blocks:
        if block.file:
            (work / block.file).write_text(block.text)
        if not block.is_run:
            continue
        command = ["bash", "-euo", "pipefail", "-c", block.text]
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=800
        )
        assert done.returncode == 0, f"{block.place} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{block.place}:\n{done.stderr}"
