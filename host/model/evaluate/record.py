"""The record of an evaluation: quality-ID.json, with every token's figures."""

from __future__ import annotations

import json
import math
from hashlib import sha256
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smoothdroid.device.common.atomic_file import write_atomically
from smoothdroid.device.common.errors import BadInput

FILES = "quality-*.json"


class _EvaluationPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(_EvaluationPart):
    """A GGUF that was evaluated."""

    name: str
    sha256: str
    size_bytes: int
    bits_per_weight: float


class Candidate(_EvaluationPart):
    """A model compared with the reference; lists are [windows][predicted tokens]."""

    model: Model
    kld: list[list[float]]
    """KL divergence from the reference, nats."""
    nll: list[list[float]]
    """Negative log-likelihood of the token that came, nats."""
    same_top: list[list[bool]]
    """True where the reference's likeliest token is the candidate's too."""


class Evaluation(_EvaluationPart):
    """Candidates compared with one reference, all over the same tokens."""

    kind: Literal["smoothdroid-evaluation"] = "smoothdroid-evaluation"
    schema_version: Literal[1] = 1
    text: str
    """The name of the text."""
    text_sha256: str
    context: int
    """The tokens of a window; the second half of each is predicted."""
    windows: int = Field(ge=2)
    kernels: str
    """The name of the kernels that computed the models, for people."""
    kernels_id: str
    reference_kernels: str | None = None
    """The name of the kernels that computed the reference, where they were others."""
    reference_kernels_id: str | None = None
    reference: Model
    reference_nll: list[list[float]]
    candidates: list[Candidate] = Field(min_length=1)

    @property
    def id(self) -> str:
        """The hash of models, text, sizes and kernels: a repeated evaluation has the same."""
        models = [self.reference, *(candidate.model for candidate in self.candidates)]
        named = [(model.name, model.sha256) for model in models]
        key = [self.schema_version, self.text_sha256, self.context, self.windows, self.kernels_id, named]
        key += [self.reference_kernels_id] if self.reference_kernels_id else []
        return sha256(json.dumps(key).encode()).hexdigest()[:12]


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Write quality-ID.json into `folder`, visible only whole; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"quality-{evaluation.id}.json"
    write_atomically(path, evaluation.model_dump_json() + "\n")
    return path


def read_evaluation(path: Path) -> Evaluation:
    """Read an evaluation. Raises BadInput when the record is damaged or of another version."""
    try:
        evaluation = Evaluation.model_validate_json(path.read_bytes())
        _check(evaluation)
    except (ValidationError, ValueError) as error:
        problem = (
            f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}" if isinstance(error, ValidationError) else error
        )
        raise BadInput(f"{path} is damaged or of another version: {problem}") from error
    return evaluation


def _check(evaluation: Evaluation) -> None:
    """Raise ValueError unless all models have figures of the same tokens."""
    tokens = {len(window) for window in evaluation.reference_nll}
    if len(evaluation.reference_nll) != evaluation.windows or len(tokens) != 1 or 0 in tokens:
        raise ValueError(f"the reference has not {evaluation.windows} windows of one length")
    lengths = [len(window) for window in evaluation.reference_nll]
    for candidate in evaluation.candidates:
        for figures in (candidate.kld, candidate.nll, candidate.same_top):
            if [len(window) for window in figures] != lengths:
                raise ValueError(f"{candidate.model.name} has not the reference's tokens")
        if not all(
            math.isfinite(figure) for windows in (candidate.kld, candidate.nll) for w in windows for figure in w
        ):
            raise ValueError(f"{candidate.model.name} has figures that are not finite")
