from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.model.checkpoint.folder import open_checkpoint
from smoothdroid.host.model.texts import chat_template
from smoothdroid.host.model.texts.chat_template import ChatTemplate, find_template, template_of

MakeCheckpoint = Callable[..., Path]

TALK = [{"role": "user", "content": "안녕 <b>"}, {"role": "assistant", "content": "네."}]
CHATML = (
    "{{ bos_token }}{% for message in messages %}\n"
    "{% generation %}{{ '<|im_start|>' + message.role + '\n' + message.content | tojson }}{% endgeneration %}"
    "<|im_end|>\n"
    "{% endfor %}\n"
)


def template(source: str) -> ChatTemplate:
    return ChatTemplate(Path("chat_template.jinja"), source, {"bos_token": "<s>"})


def test_it_is_what_transformers_makes_of_it(make_checkpoint: MakeCheckpoint) -> None:
    folder = make_checkpoint()
    assert template_of(open_checkpoint(folder)) is None
    with pytest.raises(BadInput, match="tiny: the checkpoint has no chat template"):
        find_template(open_checkpoint(folder))
    (folder / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    expected = str(tokenizer.apply_chat_template(TALK, tokenize=False))
    assert "안녕 <b>" in expected
    assert expected.startswith("<s>")
    assert find_template(open_checkpoint(folder)).render([TALK, TALK[:1]], "talk")[0] == expected


@pytest.mark.parametrize(
    "entry",
    [
        {"chat_template": "mine"},
        {"chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "mine"}]},
    ],
)
def test_it_is_found_in_tokenizer_config(make_checkpoint: MakeCheckpoint, entry: dict[str, object]) -> None:
    file = make_checkpoint() / "tokenizer_config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | {"eos_token": {"content": "</s>"}} | entry), encoding="utf-8")
    found = find_template(open_checkpoint(file.parent))
    assert found.source == "mine"
    assert found.tokens == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def test_the_date_is_the_same_on_every_day() -> None:
    assert template("{{ strftime_now('%Y-%m-%d') }}").render([TALK], "talk") == ["2026-01-01"]


NESTED = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
DOUBLED = "{% set ns = namespace(x='aaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (NESTED, "does not finish in 1 s"),
        ("{{ 9 ** (9 ** 9) }}", "does not finish in 1 s"),  # one call of C, which no signal handler interrupts
        (DOUBLED, "takes more than 512 MiB of memory"),
        ("{{ 'a' * 2000000 }}", "fails: ValueError: its text is more than ten times as long"),
        ("{{ raise_exception('no system prompt') }}", "fails on conversation 1: TemplateError: no system prompt"),
        ("{% if %}", "fails on conversation 1: TemplateSyntaxError"),
        ("{{ ''.__class__.__mro__ }}{{ messages.append(1) }}", "fails on conversation 1: SecurityError"),
        ("{{ messages[9].content }}", "fails on conversation 1: UndefinedError"),
    ],
)
def test_a_template_that_loops_explodes_or_fails_is_refused(
    source: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if says.endswith("1 s"):
        monkeypatch.setattr(chat_template, "CPU_S", 1)
    with pytest.raises(BadInput, match=rf"chat_template\.jinja: the chat template, applied to talk, {says}"):
        template(source).render([TALK], "talk")


def test_the_clock_ends_it_on_a_machine_that_gives_it_no_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "CLOCK_S", 0.01)
    with pytest.raises(BadInput, match="does not finish"):
        template("x").render([TALK], "talk")
