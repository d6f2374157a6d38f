"""A plan in its user's words: options of the command line, or a TOML file of the same names."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model, field_validator

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.info.phone import Phone
from smoothdroid.host.bench.phone_filter import PhoneFilter, Texts
from smoothdroid.host.llamacpp.settings import SETTINGS

LARGEST_FILE = 1 << 20


def _joined(value: Any) -> Any:  # noqa: ANN401 (whatever TOML holds)
    """`4` and `[1, 2]` are as good as `"4"` and `"1,2"`."""
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, bool) or not isinstance(item, int | str) for item in items):
        raise ValueError("write a number, a text or a list of them")
    return ",".join(map(str, items))


W = TypeVar("W", bound="PlanOptions")
List = Annotated[str, BeforeValidator(_joined)]


class _PlanOptions(BaseModel):
    """What is wanted. Lists are in llama-bench's syntax; every combination becomes a cell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Texts = Field(default_factory=list)
    """GGUF files; `*` as in a shell. In a plan file, relative to it."""
    prompt: List = "512"
    generate: List = "128"
    ask: Texts = Field(default_factory=list)
    """Real prompts: time to the first token, and decode rate."""
    threads: List = ""
    """Empty: 1, 2, 4 ... as CPUs allow."""
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
    """Those that these words are for."""

    @field_validator("*")
    @classmethod
    def _says_something(cls, value: Any) -> Any:  # noqa: ANN401 (of every field)
        if value in ("", []) or (isinstance(value, list) and not all(str(item).strip() for item in value)):
            raise ValueError("it is empty; leave it out to have the default")
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
    """Options for every phone, and others for some."""

    some: list[PlanOptions] = Field(default_factory=list, alias="for")
    """Each over the words for every phone, on the phones that it names."""

    def with_options(self, words: dict[str, Any]) -> Request:
        """The same with some fields said anew, for every phone. Raises BadInput that names the option."""
        some = {"for": [_said(one, but=words) for one in self.some]} if self.some else {}
        try:
            return Request.model_validate({**_said(self, but={"some"}), **words, **some})
        except ValidationError as error:
            raise BadInput("\n".join(_problem(one, "--") for one in error.errors())) from error

    def on(self, phone: Phone, names: Collection[str], labels: Collection[str] = ()) -> Request | None:
        """What of it is for a phone known by `names`, in words for that phone; None when nothing is."""
        if not self.phones.fits(phone, names, labels):
            return None
        fitting = [one for one in self.some if one.phones.fits(phone, names, labels)]
        return self.over(fitting)

    def over(self, some: Iterable[PlanOptions]) -> Request:
        """These words and, over them, those of `some`, the later ones over the earlier."""
        said = _said(self, but={"some"})
        for one in some:
            said |= _said(one, but={"phones"})
        return Request.model_validate(said)


def _said(words: PlanOptions, but: Container[str]) -> dict[str, Any]:
    return {name: value for name, value in words.model_dump(exclude_unset=True).items() if name not in but}


def read(path: Path) -> Request:
    """A plan file. Raises BadInput that names the line or the key, and for an unknown key the one that was meant."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BadInput(f"{path} is no plan: it is larger than {LARGEST_FILE >> 20} MiB")
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the plan {path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and a number of 5,000 digits
        raise BadInput(f"{path} is no TOML: {error}") from error
    try:
        asked = Request.model_validate(table)
    except ValidationError as error:
        raise BadInput("\n".join(f"{path}: {_problem(one)}" for one in error.errors())) from error
    some = [_beside(path, one) for one in asked.some]
    return _beside(path, asked).model_copy(update={"some": some})


def _beside(plan: Path, words: W) -> W:
    """A plan's files are where it lies."""
    if "models" not in words.model_fields_set:
        return words
    return words.model_copy(update={"models": [str(plan.parent / model) for model in words.models]})


def files(patterns: list[str]) -> list[Path]:
    """The files that `patterns` name, each once. Raises BadInput for a pattern that fits none."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        fitting = sorted(path.parent.glob(path.name)) if "*" in path.name or "?" in path.name else [path]
        if not fitting:
            raise BadInput(f"no file fits {pattern}")
        found |= dict.fromkeys(fitting)
    return list(found)


def _problem(error: Any, before: str = "") -> str:  # noqa: ANN401 (pydantic's ErrorDetails)
    key = ".".join(map(str, error["loc"]))
    key = before + key.replace("_", "-") if before else key
    if error["type"] != "extra_forbidden":
        return f"`{key}`: {error['msg'].removeprefix('Value error, ')}"
    known = list(PhoneFilter.model_fields) if "phones" in error["loc"] else [*PlanOptions.model_fields, "for"]
    meant = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
    return f"there is no `{key}`; " + (f"did you mean `{meant[0]}`?" if meant else f"there are {', '.join(known)}")
