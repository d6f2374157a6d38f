from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.farm import blob_cache

TEXT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path))
    return tmp_path


def test_a_file_comes_in_pieces_and_goes_on_where_it_stopped() -> None:
    assert blob_cache.there(SHA256) == 0
    assert blob_cache.take(SHA256, 0, TEXT[:4000], len(TEXT)) == 4000
    assert blob_cache.there(SHA256) == 4000
    assert blob_cache.take(SHA256, 0, TEXT[:4000], len(TEXT)) == 4000, "the same piece again, as after a cut"
    with pytest.raises(BadInput, match="has no file"):
        blob_cache.path(SHA256)
    assert blob_cache.take(SHA256, 4000, TEXT[4000:], len(TEXT)) == len(TEXT)
    assert blob_cache.path(SHA256).read_bytes() == TEXT
    assert blob_cache.there(SHA256) == len(TEXT)
    assert blob_cache.take(SHA256, 0, TEXT, len(TEXT)) == len(TEXT)


def test_what_arrived_wrong_is_not_kept() -> None:
    blob_cache.take(SHA256, 0, TEXT[:100], len(TEXT))
    with pytest.raises(BadInput, match="damaged on its way"):
        blob_cache.take(SHA256, 100, b"x" * (len(TEXT) - 100), len(TEXT))
    assert blob_cache.there(SHA256) == 0
    assert blob_cache.take(SHA256, 0, TEXT, len(TEXT)) == len(TEXT)


def test_a_name_that_is_no_hash_leads_nowhere(own_cache: Path) -> None:
    with pytest.raises(BadInput, match="is not a sha256"):
        blob_cache.take("../../etc/passwd", 0, b"", 1)
    assert list(own_cache.iterdir()) == []
