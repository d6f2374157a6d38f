from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.llamacpp import source
from smoothdroid.host.llamacpp.source import INSIDE, Source, checkout, unpack, unpacked


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """Files where a llama.cpp checkout has them."""
    folder = tmp_path / "llama.cpp"
    for name in ("CMakeLists.txt", "ggml/CMakeLists.txt", "tools/llama-bench/x.cpp", "src/llama.cpp", "docs/a.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_a_checkout_is_known_by_its_content(llama: Path, tmp_path: Path) -> None:
    known = checkout(llama)
    assert known.folder == llama
    assert known.commit == f"checkout-{known.id[:9]}"
    copy = tmp_path / "copy"
    shutil.copytree(llama, copy)
    assert checkout(copy).id == known.id


@pytest.mark.parametrize("change", ["content", "name", "new", "gone"])
def test_what_is_compiled_changes_a_checkouts_id(llama: Path, change: str) -> None:
    before = checkout(llama).id
    file = llama / "src/llama.cpp"
    match change:
        case "content":
            file.write_text("other")
        case "name":
            file.rename(file.with_name("other.cpp"))
        case "new":
            file.with_name("new.cpp").write_text("")
        case "gone":
            file.unlink()
    assert checkout(llama).id != before


def test_documents_do_not_change_a_checkouts_id(llama: Path) -> None:
    before = checkout(llama).id
    (llama / "docs/a.md").write_text("other")
    (llama / "build").mkdir()
    (llama / "build/x.o").write_text("an object")
    assert checkout(llama).id == before


@pytest.mark.parametrize("missing", ["CMakeLists.txt", "ggml/CMakeLists.txt", "tools/llama-bench", "."])
def test_what_is_no_checkout_is_bad_input(llama: Path, missing: str) -> None:
    gone = llama / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(BadInput, match=r"is no llama\.cpp checkout"):
        checkout(llama)


def test_the_pinned_source_is_named_before_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path))
    pinned = source.pinned()
    assert pinned.folder.parent == tmp_path / "sources"
    assert not pinned.folder.exists()
    assert pinned.id == source.PINNED.sha256[:16]


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    there = Source(tmp_path, "id", "commit")
    assert unpacked(there) is there


def test_unpacks_llama_cpp_and_nothing_outside_it(tmp_path: Path) -> None:
    archive, folder = tmp_path / "a.tar.gz", tmp_path / "sources" / "llama.cpp"
    folder.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name in (
            INSIDE + "CMakeLists.txt",
            INSIDE + ".git",
            INSIDE + "../../../../out",
            "../out",
            "/out",
            "other/x",
        ):
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
        link = tarfile.TarInfo(INSIDE + "link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    unpack(archive, folder)
    assert [path.relative_to(tmp_path) for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [
        Path("a.tar.gz"),
        Path("sources/llama.cpp/CMakeLists.txt"),
    ]
    assert [path.name for path in folder.iterdir()] == ["CMakeLists.txt"]
    assert [path.name for path in folder.parent.iterdir()] == ["llama.cpp"]


def test_an_archive_without_llama_cpp_leaves_nothing(tmp_path: Path) -> None:
    archive, folder = tmp_path / "a.tar", tmp_path / "sources" / "llama.cpp"
    folder.parent.mkdir()
    tarfile.open(archive, "w").close()
    with pytest.raises(SmoothdroidError, match=r"contains no llama\.cpp"):
        unpack(archive, folder)
    assert list(folder.parent.iterdir()) == []
