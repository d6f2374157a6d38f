"""The description of a checkpoint, its config and its tensors' shapes: enough to make its network without it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.checkpoint.weight_files import TensorInfo

KEY = "checkpoint"


class _Description(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    architecture: str
    config: dict[str, object]
    shapes: dict[str, tuple[NonNegativeInt, ...]]


def description(checkpoint: Checkpoint) -> dict[str, str]:
    """Return metadata, for a file that is made of the checkpoint, that `described` reads again."""
    described = _Description(
        name=checkpoint.name,
        architecture=checkpoint.architecture,
        config={key: value for key, value in checkpoint.config.items() if key != "auto_map"},
        shapes={name: tensor.shape for name, tensor in sorted(checkpoint.tensors.items())},
    )
    return {KEY: described.model_dump_json()}


def described(metadata: Mapping[str, str], file: Path) -> Checkpoint:
    """Return the checkpoint that the metadata of `file` describe: it has no weights.

    Raises BadInput where they describe none.
    """
    try:
        found = _Description.model_validate_json(metadata.get(KEY, ""))
    except ValidationError as error:
        raise BadInput(f"{file}: it does not describe the model it belongs to. Prepare the model again.") from error
    return Checkpoint(
        path=file.with_name(found.name),
        config=found.config,
        architecture=found.architecture,
        weight_files=(),
        companion_files=(),
        tensors={name: TensorInfo("F32", shape) for name, shape in found.shapes.items()},
        tensors_by_file={},
    )
