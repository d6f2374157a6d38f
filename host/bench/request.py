"""The request for a benchmark: options of the command line, or a plan file (TOML) with keys of the same names."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Container, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model, field_validator

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.phone import Phone
from smoothdroid.host.bench.phone_filter import PhoneFilter, Texts
from smoothdroid.host.common.suggest import did_you_mean
from smoothdroid.host.llamacpp.settings import SETTINGS

LARGEST_FILE = 1 << 20


def _joined(value: Any) -> Any:  # noqa: ANN401 (whatever TOML holds)
    """Return `4` and `[1, 2]` as `"4"` and `"1,2"`."""
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, bool) or not isinstance(item, int | str) for item in items):
        raise ValueError("write a number, a text or a list of them")
    return ",".join(map(str, items))


W = TypeVar("W", bound="PlanOptions")
List = Annotated[str, BeforeValidator(_joined)]


class _PlanOptions(BaseModel):
    """Options that say what to measure. Lists are in llama-bench's syntax; every combination becomes a cell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Texts = Field(default_factory=list)
    """GGUF files; `*` as in a shell. Paths in a plan file are relative to it."""
    prompt: List = "512"
    generate: List = "128"
    ask: Texts = Field(default_factory=list)
    """Real prompts: time to the first token, and decode rate."""
    threads: List = ""
    """Numbers of threads; when empty 1, 2, 4 ... up to the number of CPUs."""
    cpus: Texts = Field(default_factory=lambda: ["any"])
    repetitions: int = 2
    rounds: int = 5
    until: str = ""
    budget: str = "20m"
    sustained: str = ""
    cool: str = ""
    cool_within: int = Field(default=600, ge=0)
    seed: int = 0
    phones: PhoneFilter = PhoneFilter()
    """The phones that these options apply to."""

    @field_validator("*")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:  # noqa: ANN401 (of every field)
        if value in ("", []) or (isinstance(value, list) and not all(str(item).strip() for item in value)):
            raise ValueError("it is empty; leave it out to get the default")
        return value


if TYPE_CHECKING:
    PlanOptions = _PlanOptions
else:
    PlanOptions = create_model(
        "PlanOptions",
        __base__=_PlanOptions,
        __doc__=_PlanOptions.__doc__,
        **{setting.name: (List, "" if setting.default is None else str(setting.default)) for setting in SETTINGS},
    )


class Request(PlanOptions):
    """Options for every phone, and overrides for some."""

    overrides: list[PlanOptions] = Field(default_factory=list, alias="for")
    """Options that replace those for every phone, each on the phones of its filter."""

    def with_options(self, options: dict[str, Any]) -> Request:
        """Return the request with some options replaced for every phone. Raises BadInput that names the option."""
        overrides = {"for": [_set(one, but=options) for one in self.overrides]} if self.overrides else {}
        try:
            return Request.model_validate({**_set(self, but={"overrides"}), **options, **overrides})
        except ValidationError as error:
            raise BadInput("\n".join(_problem(detail, "--") for detail in error.errors())) from error

    def on(self, phone: Phone, names: Collection[str], labels: Collection[str] = ()) -> Request | None:
        """Return the request for one phone, known by `names`; None when nothing of it applies to that phone."""
        if not self.phones.fits(phone, names, labels):
            return None
        return self.overridden_by(options for options in self.overrides if options.phones.fits(phone, names, labels))

    def overridden_by(self, overrides: Iterable[PlanOptions]) -> Request:
        """Return these options with `overrides` over them, later ones over earlier ones."""
        options = _set(self, but={"overrides"})
        for override in overrides:
            options |= _set(override, but={"phones"})
        return Request.model_validate(options)


def _set(options: PlanOptions, but: Container[str]) -> dict[str, Any]:
    """Return the options that were set, not left at their default."""
    return {name: value for name, value in options.model_dump(exclude_unset=True).items() if name not in but}


def from_command_line(models: Sequence[Path], options: dict[str, Any]) -> Request:
    """Return the request of a command line: GGUF files or one plan file, and the options that are set.

    Options of the command line replace those of the plan file. Raises BadInput for a plan file among other files.
    """
    plans = [path for path in models if path.suffix == ".toml"]
    if plans and len(models) > 1:
        raise BadInput(f"{plans[0]} is a plan file, which names its models: give it alone")
    base = read_plan_file(plans[0]) if plans else Request(models=[str(model) for model in models])
    return base.with_options(options)


def read_plan_file(path: Path) -> Request:
    """Read a plan file. Raises BadInput that names the line or the key, and for an unknown key the closest one."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BadInput(f"{path} is not a plan file: it is larger than {LARGEST_FILE >> 20} MiB")
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the plan file {path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and a number of 5,000 digits
        raise BadInput(f"{path} is not valid TOML: {error}") from error
    try:
        request = Request.model_validate(table)
    except ValidationError as error:
        raise BadInput("\n".join(f"{path}: {_problem(detail)}" for detail in error.errors())) from error
    overrides = [_relative_to(path, options) for options in request.overrides]
    return _relative_to(path, request).model_copy(update={"overrides": overrides})


def _relative_to(plan: Path, options: W) -> W:
    """Return options whose models are found from the folder of their plan file."""
    if "models" not in options.model_fields_set:
        return options
    return options.model_copy(update={"models": [str(plan.parent / model) for model in options.models]})


def model_files(patterns: list[str]) -> list[Path]:
    """Return the files that `patterns` name, each once. Raises BadInput for a pattern without a match."""
    files: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        matches = sorted(path.parent.glob(path.name)) if "*" in path.name or "?" in path.name else [path]
        if not matches:
            raise BadInput(f"no file matches {pattern}")
        files |= dict.fromkeys(matches)
    return list(files)


def _problem(detail: Any, prefix: str = "") -> str:  # noqa: ANN401 (pydantic's ErrorDetails)
    key = ".".join(map(str, detail["loc"]))
    key = prefix + key.replace("_", "-") if prefix else key
    if detail["type"] != "extra_forbidden":
        return f"`{key}`: {detail['msg'].removeprefix('Value error, ')}"
    known = list(PhoneFilter.model_fields) if "phones" in detail["loc"] else [*PlanOptions.model_fields, "for"]
    return f"unknown key `{key}`; {did_you_mean(key.rpartition('.')[2], known)}"
