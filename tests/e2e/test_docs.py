"""The blocks of README.md and docs/, run as they stand there, with an emulated phone that is called as it is there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.cache import cache_root
from tests.docs.blocks import PAGES, ROOT, blocks_of
from tests.e2e.conftest import SMOOTHDROID, TARGET

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A cache in which all is as in the user's, but for the phones: no other one is called as those of the pages."""
    if TARGET:
        pytest.skip(f"the pages name emulated phones, and SMOOTHDROID_TEST_TARGET is {TARGET}")
    cache = tmp_path_factory.mktemp("cache")
    for path in cache_root().iterdir():
        if path.name not in ("phones", "phones.lock"):
            (cache / path.name).symlink_to(path)
    path = f"{SMOOTHDROID.parent}{os.pathsep}{os.environ['PATH']}"
    mine = {**os.environ, "SMOOTHDROID_CACHE": str(cache), "PATH": path}
    yield mine
    for phone in ("phone", "second"):
        subprocess.run([SMOOTHDROID, "phone", "stop", phone], env=mine, capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.is_run for block in blocks_of(page))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_a_page_does_what_it_says(
    page: Path, environment: dict[str, str], prepared: Path, tmp_path: Path
) -> None:
    """In a folder where the sample was made and prepared, which every page may begin with and the tutorial tells how."""
    (tmp_path / "models").symlink_to(prepared.parent)
    shutil.copytree(prepared, tmp_path / "out", copy_function=os.link)
    for block in blocks_of(page):
        if block.file:
            (tmp_path / block.file).write_text(block.text)
        if not block.is_run:
            continue
        command = ["bash", "-euo", "pipefail", "-c", block.text]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, f"{block.place} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{block.place}:\n{done.stderr}"


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.needs for block in blocks_of(page))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_what_is_not_run_is_named(page: Path) -> None:
    scripts = [block for block in blocks_of(page) if block.language == "sh"]
    left = [f"line {block.line} needs {block.needs}" for block in scripts if block.needs]
    pytest.skip(f"{page.relative_to(ROOT)}: {len(left)} of {len(scripts)} blocks are not run: {'; '.join(left)}")
