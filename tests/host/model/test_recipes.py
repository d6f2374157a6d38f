from __future__ import annotations

from pathlib import Path

from smoothdroid.host.model.recipes import hash_files


def test_hash_files_reports_progress_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    reports: list[tuple[str, int, int]] = []
    hashes = hash_files((tmp_path / "a",), lambda *progress: reports.append(progress))
    assert hashes == {"a": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    assert reports == [("hash", 3, 3)]
