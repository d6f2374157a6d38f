"""The wheel, as somebody gets it who has no checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CACHES = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".venv", ".git"}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this source tree; nothing is downloaded for them."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder, "wheel", "sdist")
    return folder


def build(source: Path, folder: Path, *kinds: str) -> None:
    targets = [argument for kind in kinds for argument in ("-t", kind)]
    command = [sys.executable, "-m", "hatchling", "build", *targets, "-d", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`smoothdroid` of a fresh environment, which has the wheel, and all it needs from this environment."""
    place = tmp_path_factory.mktemp("venv")
    venv.create(place, with_pip=True)
    (wheel,) = dist.glob("*.whl")
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, env=outside())
    # A path in a .pth does not run that folder's own .pth files: an editable install there stays out of sight.
    (site,) = place.glob("lib/python*/site-packages")
    paths = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "dependencies.pth").write_text("\n".join(paths) + "\n")
    return place / "bin" / "smoothdroid"


def outside() -> dict[str, str]:
    """The environment without what leads to the checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def source_files(*tops: str) -> set[str]:
    """Every file of the source tree below `tops` that is no cache."""
    files = (file for top in tops for file in (ROOT / top).rglob("*") if file.is_file())
    return {file.relative_to(ROOT).as_posix() for file in files if not CACHES & set(file.relative_to(ROOT).parts)}


def content(folder: Path) -> set[str]:
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_one_package_and_nothing_else(dist: Path) -> None:
    inside = content(dist)
    parts = {f"smoothdroid/{file}" for file in source_files("host", "device")}
    expected = source_files("smoothdroid") | parts | {"smoothdroid/host/llamacpp/android-toolchain.cmake"}
    data = ("device/job/runner/runner.sh", "device/info/data/socs.toml", "host/report/render/page/report.html")
    assert {f"smoothdroid/{file}" for file in data} <= expected
    assert inside == expected


def test_the_sdist_holds_the_tests_and_no_caches(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {member.name.split("/", 1)[1] for member in archive.getmembers()}
    needed = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "mkdocs.yml", "android-toolchain.cmake"}
    needed |= {"requirements.lock", "requirements-dev.lock"}
    assert source_files("host", "device", "tests", "reference", "benchmarks", "docs") | needed <= inside
    assert [name for name in inside if CACHES & set(Path(name).parts)] == []
    assert [name for name in inside if name.startswith(("smoothdroid/host/", "smoothdroid/device/"))] == []


def test_a_wheel_built_from_the_sdist_is_the_same(dist: Path, tmp_path: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    subprocess.run(["tar", "-xf", str(sdist)], cwd=tmp_path, check=True)
    build(tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path, "wheel")
    assert content(tmp_path) == content(dist)


@pytest.mark.parametrize("arguments", ["--version", "--help", "predict llama-2-7b --json", "doctor --json"])
def test_the_wheel_runs_away_from_the_checkout(installed: Path, tmp_path: Path, arguments: str) -> None:
    done = subprocess.run(
        [str(installed), *arguments.split()],
        cwd=tmp_path,
        env={**outside(), "SMOOTHDROID_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert "smoothdroid" in done.stdout or json.loads(done.stdout)


def test_the_code_that_runs_is_the_wheels(installed: Path, tmp_path: Path) -> None:
    modules = "smoothdroid.host.cli as c, smoothdroid.host.llamacpp.toolchain as t"
    code = f"import {modules}; print(c.__file__, t.TOOLCHAIN_FILE)"
    python = str(installed.with_name("python"))
    argv = [python, "-c", code]
    done = subprocess.run(argv, cwd=tmp_path, env=outside(), capture_output=True, text=True, check=True)
    files = [Path(line) for line in done.stdout.split()]
    assert len(files) == 2
    assert all(file.is_relative_to(installed.parents[1]) and file.exists() for file in files), files
