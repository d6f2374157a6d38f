from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from host.model.checkpoint import open_checkpoint
from host.model.saving import save_changed
from host.model.staging import stage

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
