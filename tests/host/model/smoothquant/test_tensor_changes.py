from __future__ import annotations

from pathlib import Path

import pytest
import torch

from smoothdroid.host.model.smoothquant.folds import Fold, ResidualStream
from smoothdroid.host.model.smoothquant.rotation import Rotation
from smoothdroid.host.model.smoothquant.tensor_changes import (
    TensorChange,
    fold_changes,
    load_changes,
    rotation_changes,
    save_changes,
    touched,
)

UP_DOWN = Fold("up-down", "up", ("down",))
NORM = Fold("norm", "norm", ("up",), source_offset=1.0)
TENSORS = {
    "norm.weight": torch.tensor([0.0, 3.0]),
    "up.weight": torch.tensor([[1.0, 2.0], [8.0, 1.0]]),
    "up.bias": torch.tensor([1.0, 2.0]),
    "down.weight": torch.tensor([[4.0, 0.5], [-1.0, 1.0]]),
    "down.bias": torch.tensor([7.0, 7.0]),
}
# 2 x 2: Hadamard's [[1, 1], [1, -1]] / sqrt(2), behind random signs.
ROTATION = Rotation(2, seed=0)


def test_changes_by_hand() -> None:
    changed = fold_changes({UP_DOWN: torch.tensor([1.0, 4]), NORM: torch.tensor([0.5, 2])}, TENSORS)
    after = {name: change.apply(TENSORS[name]).tolist() for name, change in changed.items()}
    assert after == {
        "norm.weight": [1.0, 1.0],  # (1 + 0) / 0.5 - 1, (1 + 3) / 2 - 1
        "up.weight": [[0.5, 4.0], [1.0, 0.5]],
        "up.bias": [1.0, 0.5],
        "down.weight": [[4.0, 2.0], [-1.0, 4.0]],
    }


def test_turning_by_hand() -> None:
    """Readers take the norm's weight (1 + w) in and are rotated; writers and their biases are rotated the other way."""
    stream = ResidualStream(readers={"norm": ("up",)}, writers=("down",), norm_offset=1.0)
    norms = {"norm.weight": TENSORS["norm.weight"], "model.norm.weight": torch.tensor([1.0, 1.0])}
    changed = rotation_changes(stream, ROTATION, norms, TENSORS)
    q = ROTATION.rotate_columns(torch.eye(2))
    assert torch.allclose(changed["norm.weight"].apply(TENSORS["norm.weight"]), torch.zeros(2))
    up = changed["up.weight"].apply(TENSORS["up.weight"])
    assert torch.allclose(up, TENSORS["up.weight"] * torch.tensor([1.0, 4.0]) @ q, atol=1e-6)
    down = changed["down.weight"].apply(TENSORS["down.weight"])
    assert torch.allclose(down, q.T @ TENSORS["down.weight"], atol=1e-6)
    assert torch.allclose(changed["down.bias"].apply(TENSORS["down.bias"]), TENSORS["down.bias"] @ q, atol=1e-6)
    assert changed["model.embed_tokens.weight"] == TensorChange(rotated_axis="columns", rotation=ROTATION)
    assert "up.bias" not in changed, "what a reader adds is not in the stream"


def test_folds_come_on_top_of_turning() -> None:
    rotated = {"up.weight": TensorChange(gain=torch.tensor([2.0, 3.0]), rotated_axis="columns", rotation=ROTATION)}
    changed = fold_changes({NORM: torch.tensor([0.5, 2])}, TENSORS, rotated)
    before, scales = rotated["up.weight"].apply(TENSORS["up.weight"]), torch.tensor([0.5, 2])
    assert torch.allclose(changed["up.weight"].apply(TENSORS["up.weight"]), before * scales)


def test_heads_that_share_have_one_scale() -> None:
    """4 query heads of 1 channel, 2 kv heads; v is the last part of a fused linear."""
    fold = Fold("v-o", "qkv", ("o",), n_heads=4, n_kv_heads=2)
    tensors = {"qkv.weight": torch.ones(8, 1), "o.weight": torch.tensor([[1.0, 4, 1, 1]])}
    changed = fold_changes({fold: torch.tensor([2.0, 3])}, tensors)
    assert changed["o.weight"].apply(tensors["o.weight"]).tolist() == [[2, 8, 3, 3]]
    assert changed["qkv.weight"].apply(tensors["qkv.weight"]).flatten().tolist() == pytest.approx(
        [1, 1, 1, 1, 1, 1, 1 / 2, 1 / 3]
    )


def test_the_source_has_a_bias_or_has_none() -> None:
    assert touched(UP_DOWN, TENSORS) == ["up.weight", "down.weight", "up.bias"]
    assert touched(NORM, TENSORS) == ["norm.weight", "up.weight"]


def test_no_change_is_none() -> None:
    assert TensorChange().apply(TENSORS["up.weight"]) is TENSORS["up.weight"]


def test_changes_come_back_from_their_file(tmp_path: Path) -> None:
    stream = ResidualStream(readers={"norm": ("up",)}, writers=("down",), norm_offset=1.0)
    norms = {"norm.weight": TENSORS["norm.weight"], "model.norm.weight": torch.tensor([1.0, 1.0])}
    scales = {NORM: torch.tensor([0.5, 2]), UP_DOWN: torch.tensor([3.0, 4])}
    changes = fold_changes(scales, TENSORS, rotation_changes(stream, ROTATION, norms, TENSORS))
    save_changes(changes, tmp_path / "changes")
    loaded = load_changes(tmp_path / "changes")
    assert loaded.keys() == changes.keys()
    for name, change in changes.items():
        tensor = TENSORS.get(name, torch.tensor([[1.0, 2.0]]))
        assert torch.equal(loaded[name].apply(tensor), change.apply(tensor)), name


CHANGES = {
    "reader": TensorChange(
        gain=torch.tensor([2.0, 3.0]), rotated_axis="columns", rotation=ROTATION, columns=torch.tensor([0.5, 4.0])
    ),
    "writer": TensorChange(rotated_axis="rows", rotation=ROTATION, columns=torch.tensor([0.5, 4.0])),
    "source": TensorChange(columns=torch.tensor([3.0, 0.5]), rows=torch.tensor([8.0])),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_undone(change: TensorChange) -> None:
    weight = TENSORS["up.weight"]
    assert not torch.allclose(change.apply(weight), weight)
    assert torch.allclose(change.undo(change.apply(weight)), weight, atol=1e-6)


def test_a_norm_that_its_readers_took_in_cannot_be_undone() -> None:
    with pytest.raises(ValueError, match="is in its readers"):
        TensorChange(ones=True).undo(torch.ones(2))
    folded = TensorChange(rows=torch.tensor([0.5, 2.0]), offset=1.0)
    assert torch.allclose(folded.undo(folded.apply(TENSORS["norm.weight"])), TENSORS["norm.weight"])


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_addition_changes_by_columns_and_rows(change: TensorChange) -> None:
    """W' + B' A' is the change of W + B A."""
    weight, a, b = TENSORS["up.weight"], torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5], [3.0]])
    together = change.apply(weight) + change.of_rows().apply(b) @ change.of_columns().apply(a)
    assert torch.allclose(together, change.apply(weight + b @ a), atol=1e-5)


def test_scales_that_are_shared_are_stored_once(tmp_path: Path) -> None:
    scales = torch.rand(1000)
    names = [f"reader{number}" for number in range(8)]
    save_changes({name: TensorChange(columns=scales) for name in names}, tmp_path / "changes")
    assert (tmp_path / "changes").stat().st_size < 2 * scales.nbytes
    loaded = load_changes(tmp_path / "changes")
    assert [torch.equal(loaded[name].columns, scales) for name in names] == [True] * 8  # type: ignore[arg-type]
