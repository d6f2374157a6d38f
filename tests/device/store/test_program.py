"""Programs on a phone that is a folder here."""

from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.store.program import File, install
from smoothdroid.device.transport.local import LocalTarget


@pytest.fixture
def target(tmp_path: Path) -> LocalTarget:
    target = LocalTarget()
    target.root = str(tmp_path / "phone")
    return target


def made(folder: Path, name: str, text: str) -> File:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name, sha256_of(folder / name)


SAYS = '#!/bin/sh\necho "$LD_LIBRARY_PATH"; ls "$(dirname "$0")"\n'


def test_a_single_file_goes_where_its_hash_says_and_needs_nothing(target: LocalTarget, tmp_path: Path) -> None:
    tool = made(tmp_path / "built", "llama-bench", SAYS)
    installed = install(target, tool)
    assert installed.path == f"{target.root}/store/{tool[1][:16]}/llama-bench"
    assert target.run([installed.path], env=installed.env).stdout == "\nllama-bench\n"


def test_a_program_lies_beside_all_that_it_loads(target: LocalTarget, tmp_path: Path) -> None:
    built = tmp_path / "built"
    bench, cli = made(built, "llama-bench", SAYS), made(built, "llama-cli", SAYS)
    beside = [bench, cli, made(built, "libllama.so", "1"), made(built, "libggml-cpu-x64.so", "2")]
    installed = install(target, bench, beside)
    folder = Path(installed.path).parent
    said = target.run([installed.path], env=installed.env).stdout.splitlines()
    assert said == [str(folder), "libggml-cpu-x64.so", "libllama.so", "llama-bench", "llama-cli"]
    assert Path(install(target, cli, beside).path) == folder / "llama-cli", "one folder for all tools of a build"

    changed = [*beside[:2], made(built, "libllama.so", "other"), beside[3]]
    elsewhere = Path(install(target, bench, changed).path).parent
    assert elsewhere != folder
    assert [(place / "libllama.so").read_text() for place in (folder, elsewhere)] == ["1", "other"]


@pytest.mark.fault(
    "a library of a build changes on the workstation while it is sent",
    transport="any",
    outcome="an error says so; the program is not run with it",
)
def test_a_library_that_changed_underway_is_not_taken(target: LocalTarget, tmp_path: Path) -> None:
    built = tmp_path / "built"
    bench, library = made(built, "llama-bench", SAYS), made(built, "libllama.so", "1")
    library[0].write_text("2")
    with pytest.raises(BadInput, match=r"libllama.so changed while it was sent"):
        install(target, bench, [bench, library])
