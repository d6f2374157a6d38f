"""What README.md and docs/ tell to type is there to be typed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from smoothdroid.host.cli import app
from tests.docs.blocks import NEEDS, PAGES, ROOT, Block, blocks_of, calls, in_sentences

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
SCRIPTS = [block for block in BLOCKS if block.language == "sh"]
SOMEBODY_ELSES = {"--shape"}  # of benchmarks.prepare
SENTENCES = [text for page in PAGES for text in in_sentences(page)]


def problem(arguments: Sequence[str], *, whole: bool = True) -> str:
    """What smoothdroid says against being called like this; nothing when it is right. It goes no further than that.

    Not `whole`: a sentence may name a command without all that it needs.
    """
    command: Any = typer.main.get_command(app)
    # These act while they are parsed: they would write into the home of whoever runs the tests.
    acting = [word for word in ("--install-completion", "--show-completion") if word in arguments]
    if missing := [word for word in acting if all(word not in part.opts for part in command.params)]:
        return f"No such option: {missing[0]}"
    if acting:
        return ""
    name, rest, context = "smoothdroid", list(arguments), None
    try:
        while True:
            context = command.make_context(name, rest, parent=context)
            if not hasattr(command, "resolve_command"):
                return ""
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    except typer.Exit:  # --help, --version
        return ""
    except typer.TyperException as error:
        is_short = type(error).__name__ in ("MissingParameter", "NoArgsIsHelpError")
        return "" if is_short and not whole else f"smoothdroid {' '.join(arguments)}: {error}"


def test_a_wrong_call_is_seen() -> None:
    assert problem(["bench", "x.gguf", "--threads", "1-8", "--on", "all"]) == ""
    assert problem(["phone", "start", "desk"]) == ""
    assert "No such option" in problem(["bench", "x.gguf", "--thread", "1"])
    assert "No such command" in problem(["measure", "x.gguf"])
    assert "No such command" in problem(["phone", "begin"], whole=False)
    assert "Missing" in problem(["bench"])
    assert problem(["bench"], whole=False) == ""


def test_calls_are_found_in_a_script() -> None:
    script = "# smoothdroid no\nx=1 && smoothdroid a 'b c' \\\n  --d > e  # smoothdroid f\ng | smoothdroid 'h#i'; ls\n"
    assert list(calls(script, "smoothdroid")) == [["a", "b c", "--d"], ["h#i"]]


@pytest.mark.parametrize("block", SCRIPTS, ids=lambda block: block.place)
def test_a_block_calls_what_is_there(block: Block) -> None:
    found = [problem(arguments) for arguments in calls(block.text, "smoothdroid")]
    assert [text for text in found if text] == []
    for script in (word for word in block.text.split() if word.startswith("scripts/")):
        assert (ROOT / script).is_file(), script


def test_sentences_name_what_is_there() -> None:
    named = [arguments for text in SENTENCES for arguments in calls(text, "smoothdroid") if arguments]
    assert len(named) > 10
    said = [problem(arguments, whole=False) for arguments in named]
    assert [text for text in said if text] == []


def test_sentences_name_options_that_are_there() -> None:
    there = {"--help", *(option for command in every_command() for part in command.params for option in part.opts)}
    named = [(text, text.split()[0].partition("=")[0]) for text in SENTENCES if text.startswith("--")]
    assert len(named) > 20
    assert [text for text, option in named if option not in there | SOMEBODY_ELSES] == []


def every_command(command: Any = None) -> Iterator[Any]:
    """The command, its commands and theirs."""
    command = command or typer.main.get_command(app)
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from every_command(inner)


def test_benchmarks_that_are_named_are_there() -> None:
    words = " ".join([*SENTENCES, *(block.text for block in BLOCKS)]).split()
    named = {module for python, flag, module in zip(words, words[1:], words[2:], strict=False) if flag == "-m"}
    assert len(named) >= 5
    assert [module for module in sorted(named) if importlib.util.find_spec(module) is None] == []


def test_most_blocks_are_run_and_the_others_need_what_no_test_has() -> None:
    """tests/e2e/test_docs.py runs them; NEEDS lists what keeps the others from it."""
    assert sum(block.is_run for block in SCRIPTS) > len(SCRIPTS) / 2
    assert {need for block in SCRIPTS for need in block.needs.split(", ") if need} == set(NEEDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_say_what_they_are(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in ("sh", "toml", "yaml", "python", "text"), block.place
        needs = filter(None, block.needs.split(", "))
        assert [need for need in needs if need not in NEEDS] == [], block.place
        assert not (block.language == "sh" and block.file), block.place
        assert not (block.language != "sh" and block.needs), block.place
