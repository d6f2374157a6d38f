"""The table of llama.cpp settings: how each is given, passed on, verified, recorded and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from smoothdroid.host.llamacpp.kernel_log import Kernels

Value = int | str

KV_TYPES = ("f16", "bf16", "q8_0", "q5_1", "q5_0", "iq4_nl", "q4_1", "q4_0")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One llama.cpp setting. `smoothdroid bench` offers it as `--FIELD` and under llama-bench's own short option."""

    flag: str
    """The option of llama-bench."""
    key: str
    """The key in llama-bench's record, and the column of cells.csv."""
    column: str = ""
    """The column of `smoothdroid query`; `key` unless given."""
    help: str
    """The sentence that `smoothdroid bench --help` shows."""
    meaning: str
    """The meaning of the column, as `smoothdroid query --tables` shows it."""
    choices: tuple[str, ...] = ()
    """The words allowed; empty for a setting whose values are numbers. A Literal in the model needs none here."""
    least: int = 1
    """The smallest number allowed."""
    spelling: Mapping[str, str] = field(default_factory=dict)
    """llama-bench's word for a value, where it differs."""
    recorded: Mapping[str, Value] = field(default_factory=dict)
    """The value in llama-bench's record, where it differs from the word on the command line."""
    completion: Callable[[Value], list[str]] | None = None
    """A value's options of llama-completion; None where they are those of llama-bench."""
    in_log: Callable[[Kernels], str | None] | None = None
    """The value that the log reports, for a setting of which the record holds the request and not the result."""
    undecided: tuple[str, ...] = ()
    """Values that let llama.cpp decide, so that any result is right."""
    name: str = ""
    """The field's name in `Options`."""
    default: Value | None = None
    """The value that is passed to no tool; None leaves the setting to llama.cpp."""

    @property
    def option(self) -> str:
        """The long option of `smoothdroid bench`."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def label(self) -> str:
        """The name in tables and messages."""
        return self.name.replace("_", " ")

    def bench_arguments(self, value: Value) -> list[str]:
        """Return llama-bench's arguments for a value."""
        return [self.flag, self.spelling.get(str(value), str(value))]

    def completion_arguments(self, value: Value) -> list[str]:
        """Return llama-completion's arguments for a value."""
        return self.completion(value) if self.completion else self.bench_arguments(value)

    def in_record(self, value: Value) -> Value:
        """Return what llama-bench's record holds for a value."""
        return self.recorded.get(str(value), self.spelling.get(str(value), value))

    def measured(self, record: BaseModel, kernels: Kernels) -> Value | None:
        """Return the value that llama-bench reports to have used; None where its version does not report it."""
        if self.in_log:
            return self.in_log(kernels)
        reported: Value | None = getattr(record, self.key, None)
        return next((choice for choice in self.choices if self.in_record(choice) == reported), reported)


def _attention(kernels: Kernels) -> str | None:
    return None if kernels.flash_attention is None else "on" if kernels.flash_attention else "off"


class Options(BaseModel):
    """The settings of llama.cpp in a cell, one field each; None leaves a setting to llama.cpp's default.

    A new setting is one more field. Its default is in no fingerprint, so that results from before stay valid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: Annotated[
        int,
        Field(ge=0),
        Setting(
            flag="-d",
            key="n_depth",
            help="Tokens in the KV cache before the test. Default: 0.",
            meaning="tokens in the KV cache before the test",
            least=0,
            completion=lambda _: [],  # a prompt begins a conversation
        ),
    ] = 0
    batch: Annotated[
        int | None, Setting(flag="-b", key="n_batch", help="Logical batch sizes.", meaning="the logical batch size")
    ] = None
    ubatch: Annotated[
        int | None, Setting(flag="-ub", key="n_ubatch", help="Physical batch sizes.", meaning="the physical batch size")
    ] = None
    cache_k: Annotated[
        str | None,
        Setting(
            flag="-ctk",
            key="type_k",
            help="Types of the KV cache's keys: f16,q8_0 ...",
            meaning="the type of the KV cache's keys",
            choices=KV_TYPES,
        ),
    ] = None
    cache_v: Annotated[
        str | None,
        Setting(
            flag="-ctv",
            key="type_v",
            help="Types of the KV cache's values.",
            meaning="the type of the KV cache's values",
            choices=KV_TYPES,
        ),
    ] = None
    flash_attention: Annotated[
        Literal["on", "off", "auto"] | None,
        Setting(
            flag="-fa",
            key="flash_attn",
            help="Flash attention.",
            meaning="flash attention: on, off or auto",
            recorded={"on": 1, "off": 0, "auto": -1},
            in_log=_attention,
            undecided=("auto",),
        ),
    ] = None
    mmap: Annotated[
        Literal["on", "off"] | None,
        Setting(
            flag="-lm",
            key="load_mode",
            column="use_mmap",
            help="Map the weights into memory (on), or read them (off).",
            meaning="the weights are mapped into memory (on), or read (off)",
            spelling={"on": "mmap", "off": "none"},
            completion=lambda value: ["--no-mmap"] if value == "off" else [],
        ),
    ] = None

    def __str__(self) -> str:
        """Return what differs from the default: `depth 4096, cache k q8_0`."""
        return ", ".join(f"{setting.label} {value}" for setting, value in self.changed())

    def changed(self) -> Iterator[tuple[Setting, Value]]:
        """Yield each setting that differs from its default, and its value."""
        for setting in SETTINGS:
            value: Value | None = getattr(self, setting.name)
            if value is not None and value != setting.default:
                yield setting, value


def _row(name: str, declared: FieldInfo) -> Setting:
    """Return the setting that a field declares, with what the field itself knows of it."""
    (setting,) = (extra for extra in declared.metadata if isinstance(extra, Setting))
    words = [word for part in get_args(declared.annotation) for word in get_args(part)]
    return replace(
        setting,
        name=name,
        default=declared.default,
        column=setting.column or setting.key,
        choices=setting.choices or tuple(words),
    )


SETTINGS: tuple[Setting, ...] = tuple(_row(name, declared) for name, declared in Options.model_fields.items())
"""Every setting, in the order of --help and of tables."""


def known_keys(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in llama-bench's record, by their keys. Raises ValueError for a value that is no scalar."""
    reported = {setting.key: record[setting.key] for setting in SETTINGS if setting.key in record}
    if strange := [key for key, value in reported.items() if not isinstance(value, int | float | str | None)]:
        raise ValueError(f"`{strange[0]}` is neither a number nor a text")
    return reported
