from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.saving import save_changed
from smoothdroid.host.model.checkpoint.staging import stage
from tests.host import without

MakeCheckpoint = Callable[..., Path]


def test_no_code_and_no_call_for_code_is_staged(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    folder = make_checkpoint()
    (folder / "evil.py").write_text("raise SystemExit")
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}))
    checkpoint = open_checkpoint(folder)
    for staged in (stage(checkpoint, tmp_path / "plain"), save_changed(checkpoint, tmp_path / "saved", {})):
        assert sorted(file.name for file in staged.iterdir()) == [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
        assert "evil" not in "".join(file.read_text() for file in staged.glob("*.json"))
    assert "evil" in (folder / "config.json").read_text(), "the user's own checkpoint is left alone"


def test_weights_are_staged_by_link(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(make_checkpoint(max_shard_size="200KB"))
    staged = stage(checkpoint, tmp_path / "staged")
    assert {file.resolve() for file in staged.glob("*.safetensors")} == set(checkpoint.weight_files)
    assert (staged / "model.safetensors.index.json").is_file()


def test_what_is_staged_has_no_byte_order_marks(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    """transformers refuses them. The user's own files stay as they are."""
    folder = make_checkpoint(max_shard_size="200KB")
    texts = [*folder.glob("*.json"), folder / "merges.txt", folder / "tokenizer.model"]
    for file in texts:
        file.write_bytes(b"\xef\xbb\xbf" + (file.read_bytes() if file.exists() else b"#version: 0.2\n"))
    staged = stage(open_checkpoint(folder), tmp_path / "staged")
    for file in texts:
        assert (staged / file.name).read_bytes().startswith(b"\xef\xbb\xbf") is (file.suffix == ".model")
        assert file.read_bytes().startswith(b"\xef\xbb\xbf")


def test_a_quantisation_of_nothing_is_not_staged(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    folder = make_checkpoint()
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "quantization_config": {}}))
    staged = stage(open_checkpoint(folder), tmp_path / "staged")
    assert "quantization_config" not in json.loads((staged / "config.json").read_text())


STAGE = """
import sys
from pathlib import Path
from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.checkpoint.staging import stage, staging_folder
checkpoint, work = open_checkpoint(Path(sys.argv[1])), Path(sys.argv[2])
try:
    with staging_folder(checkpoint, work / "original") as folder:
        staged = stage(checkpoint, folder / "tiny")
        weights = staged / "model.safetensors"
        kind = "symbolic" if weights.is_symlink() else "hard" if weights.stat().st_nlink > 1 else "copy"
        print(kind, folder == work / "original", folder)
except BadInput as error:
    print(error)
"""


@pytest.mark.fault(
    "the output folder is on exFAT or CIFS, which have no symbolic links",
    transport="workstation",
    outcome="hard links, or links in the temporary folder; without either one line: give another -o",
)
@pytest.mark.parametrize(
    ("refusals", "says"),
    [
        ({}, "symbolic True"),
        ({"symlink": "EPERM"}, "hard True"),
        ({"symlink": "EOPNOTSUPP"}, "hard True"),
        ({"symlink": "EPERM", "link": "EPERM"}, "out is on a file system without links, and so is"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else None,
)
def test_a_file_system_without_symbolic_links(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, refusals: dict[str, str], says: str
) -> None:
    (tmp_path / "out" / "work").mkdir(parents=True)
    argv = [sys.executable, "-c", STAGE, str(make_checkpoint()), str(tmp_path / "out" / "work")]
    argv = without.command(refusals, argv) if refusals else argv
    done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=without.ROOT)
    assert says in done.stdout
    assert "Traceback" not in done.stderr
