"""What is written from the code says what the code says."""

from __future__ import annotations

import re

import pytest
import typer

from reference import commands, modules, plan, results, socs, verdicts
from reference.fields import docstrings, kind
from reference.markdown import code, plain, table
from smoothdroid.device.info import socs as known
from smoothdroid.host.bench.request import PlanOptions
from smoothdroid.host.cli import app
from smoothdroid.host.results import checks, throttling_checks
from smoothdroid.host.results.record import Campaign, Run
from tests.docs.blocks import ROOT


def section(text: str, title: str) -> str:
    """What stands below a heading, to the next of its kind."""
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_command_with_every_option() -> None:
    text = commands.write()
    assert "\n## smoothdroid phone start\n" in text
    bench = section(text, "smoothdroid bench")
    for option in ("`-o, --output ", "`--cool-within ", "`--share`", "`-fa, --flash-attention on,off,auto`"):
        assert f"| {option}" in bench
    assert "| `models" in bench
    assert "Example: smoothdroid bench out/llama2-7b/*.gguf" in bench
    found = getattr(typer.main.get_command(app), "commands", {})["bench"]
    options = [option for part in found.params for option in part.opts if option.startswith("--")]
    assert len(options) > 20
    assert [option for option in options if option not in bench] == []


def test_a_plans_words_with_their_defaults() -> None:
    words = section(plan.write(), "A plan")
    assert "| `prompt` | `512` | Prefill lengths in tokens; 0: none. Default: 512. |" in words
    assert "| `cpus` | `any` |" in words
    assert [name for name in PlanOptions.model_fields if f"| `{name}` |" not in words] == []


def test_a_records_fields_with_their_types() -> None:
    text = results.write()
    assert "| `build_tools` | `dict[str, str]` | The sha256 of each tool. |" in section(text, "campaign.json")
    assert "| `failure` | <code>str &#124; None</code> | The reason for a missing measurement. |" in section(
        text, "runs.jsonl"
    )
    assert {"Phone", "Cell", "Cluster"} <= set(re.findall(r"^### (\w+)$", text, re.MULTILINE))
    for model in (Campaign, Run):
        assert [name for name in model.model_fields if f"| `{name}` |" not in text] == []


def test_docstrings_of_a_field_are_its_own() -> None:
    said = docstrings(Run)
    assert said["failure"] == "The reason for a missing measurement."
    assert "round" not in said
    assert kind(Run.model_fields["bench"]) == "BenchRecord | None"


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (checks.wandered, ["mask not held"]),
        (throttling_checks.tripped, ["throttled"]),
        (checks.charging, ["energy withheld"]),
        (checks.unread, ["not checked"]),
    ],
)
def test_the_words_of_a_check(check: checks.Check, words: list[str]) -> None:
    assert verdicts.words(check) == words


def test_every_check_has_a_word_and_the_explanation_names_them_all() -> None:
    found = {word for check in (*checks.OF_A_RUN, *checks.OF_A_CELL) for word in verdicts.words(check)}
    assert all(verdicts.words(check) for check in checks.CHECKS)
    page = (ROOT / "docs/explanation/validity.md").read_text()
    listed = page.partition("names the problem:")[2].partition("\n\n[")[0]
    assert set(re.findall(r"\*([a-z -]+)\*", listed)) == found


def test_every_limit_with_its_value() -> None:
    assert f"| `WIDEST_SHARE` | `{checks.WIDEST_SHARE}` |" in verdicts.write()


def test_every_soc_with_its_source() -> None:
    text = socs.write()
    for row in known.everything():
        assert f"| {row.name} | {', '.join(map(code, row.codes))} | {row.peak_gb_s:g} |" in text
        assert plain(row.dram_source) in text


def test_what_acts_as_markdown_is_told_as_text() -> None:
    assert plain("a_b *c* <d> [e]|`f_g`") == r"a\_b \*c\* &lt;d> \[e\]&#124;`f_g`"
    assert table(["x"], [["a\nb|c"]]) == "| x |\n| --- |\n| a b\\|c |"
    assert code("") == ""


def test_the_module_map_is_todays() -> None:
    page = modules.PAGE.read_text(encoding="utf-8")
    assert "`device/` — " in page
    assert page == modules.with_map(page), "run `python -m reference.modules`"
