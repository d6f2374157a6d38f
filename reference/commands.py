"""The page of commands: every command with all its options, from the Typer app that parses them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from reference.markdown import code, page, plain, table
from smoothdroid.host.cli import app

NAME = "smoothdroid"


def write() -> str:
    """Return the page."""
    root = typer.main.get_command(app)
    context = root.context_class(root, info_name=NAME)
    return page(
        "# Commands",
        f"Generated from the code: the help of `{NAME} COMMAND --help`.",
        plain(root.help or ""),
        plain(root.epilog or ""),
        *(section for command, context in _leaves(root, context) for section in _sections(command, context)),
    )


def _leaves(command: Any, context: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 (Typer names no types for them)
    """Yield every command that is not a group, in the order of --help."""
    if not hasattr(command, "commands"):
        yield command, context
        return
    for name, inner in command.commands.items():
        yield from _leaves(inner, inner.context_class(inner, info_name=name, parent=context))


def _sections(command: Any, context: Any) -> Iterator[str]:  # noqa: ANN401
    path = context.command_path
    records = [(part.param_type_name, part.get_help_record(context)) for part in command.params]
    yield f"## {path}"
    yield f"```text\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```"
    yield plain(command.help or "")
    for kind, title in (("argument", "Argument"), ("option", "Option")):
        rows = [
            [code(record[0]), plain(record[1])] for record_kind, record in records if record_kind == kind and record
        ]
        if rows:
            yield table([title, "Meaning"], rows)
    if command.epilog:
        yield "```text\n" + command.epilog.replace("\n\n", "\n") + "\n```"
