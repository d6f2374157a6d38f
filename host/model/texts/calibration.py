"""The calibration texts of a preparation: files of text, JSONL or Parquet, with the checkpoint's chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.folder import Checkpoint
from smoothdroid.host.model.texts.chat_template import ChatTemplate, find_template, template_of
from smoothdroid.host.model.texts.mixture import mixture
from smoothdroid.host.model.texts.parquet import read_parquet
from smoothdroid.host.model.texts.prose import PARAGRAPH, Prose, read_text
from smoothdroid.host.model.texts.records import MESSAGES, Conversation, first_records, plain_text, read_jsonl

JSONL, PARQUET = (".jsonl", ".ndjson"), (".parquet",)


@dataclass(frozen=True)
class CalibrationFile:
    """A file to calibrate on; `field` is the field of its records that is read, None where that is not said."""

    path: Path
    field: str | None = None

    @property
    def name(self) -> str:
        """The name of the file and the field, for messages and manifests."""
        return f"{self.path.name}:{self.field}" if self.field else self.path.name


def parse_file(argument: str | Path) -> CalibrationFile:
    """Parse `FILE` or `FILE:FIELD`. Raises BadInput where a field is named of a file that has no records."""
    path = Path(argument).expanduser()
    before, colon, field = str(argument).rpartition(":")
    if path.exists() or not colon or not Path(before).expanduser().is_file():
        return CalibrationFile(path)
    if Path(before).suffix.lower() not in (*JSONL, *PARQUET):
        raise BadInput(f"{argument}: only JSONL (.jsonl) and Parquet (.parquet) files have fields. Give {before}.")
    if not field:
        raise BadInput(f"{argument}: no field is named behind the colon.")
    return CalibrationFile(Path(before).expanduser(), field)


def calibration_texts(
    arguments: Path | Sequence[str | Path], checkpoint: Checkpoint, *, chat: bool = False
) -> tuple[Prose, ...]:
    """Read the texts to calibrate on: `FILE` or `FILE:FIELD` each; without any, the default mixture.

    Conversations, which are lists of messages, become text through the checkpoint's chat template if `chat` is true,
    and otherwise through their contents alone. Raises BadInput where a file cannot be read or has no text, and with
    `chat` where no file has conversations or the template does not work.
    """
    template = find_template(checkpoint) if chat else None
    if not arguments:
        return mixture(template or template_of(checkpoint))
    files = [parse_file(one) for one in ([arguments] if isinstance(arguments, Path) else arguments)]
    read = [_read(file) for file in files]
    if chat and not any(isinstance(record, list) for records in read for record in records):
        raise BadInput(
            "--chat applies the chat template to conversations, and the calibration texts have none. Give a JSONL or "
            f"Parquet file with a field {MESSAGES!r} (--calib FILE.jsonl), or leave out --chat."
        )
    return tuple(_prose(file, records, template) for file, records in zip(files, read, strict=True))


def _read(file: CalibrationFile) -> list[str | Conversation]:
    """Return the records of the file; a file of text is one record."""
    suffix = file.path.suffix.lower()
    if suffix in JSONL:
        return first_records(file.path, read_jsonl(file.path, file.field))
    if suffix in PARQUET:
        return first_records(file.path, read_parquet(file.path, file.field))
    return [read_text(file.path)]


def _prose(file: CalibrationFile, records: list[str | Conversation], template: ChatTemplate | None) -> Prose:
    conversations = [record for record in records if isinstance(record, list)]
    rendered = iter(template.render(conversations, file.name) if template else map(plain_text, conversations))
    parts = [next(rendered) if isinstance(record, list) else record for record in records]
    return Prose(file.name, parts[0] if len(parts) == 1 else PARAGRAPH.join(parts))
