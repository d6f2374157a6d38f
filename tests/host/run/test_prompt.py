from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.transport.target import Completed
from smoothdroid.host.gguf.artifact import inspect
from smoothdroid.host.run import prompt
from smoothdroid.host.run.prompt import PromptAnswer, Sampling
from tests.host.fakes import Answer as Replay
from tests.host.fakes import ReplayTarget, write_gguf

TIMINGS = (
    "common_perf_print: prompt eval time = 10.00 ms / 5 tokens ( 2.00 ms per token, 500.00 tokens per second)\n"
    "common_perf_print:        eval time = 10.00 ms / 2 runs ( 5.00 ms per token, 200.00 tokens per second)\n"
)
HARD = "안녕 \"$(id)\" `id` 'x' \\n *\n둘째 줄 "


def replies(stdout: str, stderr: str = TIMINGS, status: int = 0) -> Replay:
    return lambda argv: Completed(status, stdout, stderr)


class Asked:
    """One question to a replaying phone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.heard: list[str] = []
        self.argv: Sequence[str] = []

    def __call__(self, answer: Replay, *, raw: bool = False) -> PromptAnswer:
        tool = self.folder / "llama-completion"
        tool.touch()
        model = inspect(write_gguf(self.folder / "tiny.gguf"))
        target = ReplayTarget(self.folder / "phone", answer)
        how = Sampling(threads=3, max_tokens=9, temperature=0.0, seed=7, raw=raw)
        try:
            deployed = prompt.deploy(target, (tool, sha256_of(tool)), model)
            return prompt.ask(target, deployed, HARD, how, on_output=self.heard.append)
        finally:
            (self.argv,) = target.measured


@pytest.fixture
def ask(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


def option(argv: Sequence[str], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_an_answer_comes_as_it_is_said_and_whole(ask: Asked) -> None:
    answer = ask(replies("Hello. [end of text]\n\n"))
    assert answer.text == "Hello."
    assert answer.timings is not None
    assert (answer.timings.prompt_tps, answer.timings.generated_tps) == (500.0, 200.0)
    assert ask.heard == ["Hello. [end of text]\n\n"]


def test_a_prompt_is_one_argument_and_has_room(ask: Asked) -> None:
    ask(replies("x"))
    assert option(ask.argv, "-p") == HARD
    assert "--no-escape" in ask.argv
    assert [option(ask.argv, name) for name in ("-t", "-n", "--temp", "--seed")] == ["3", "9", "0.0", "7"]
    assert int(option(ask.argv, "--ctx-size")) >= len(HARD.encode()) + 9


@pytest.mark.parametrize(
    ("raw", "there", "absent"), [(True, "-no-cnv", "--single-turn"), (False, "--single-turn", "-no-cnv")]
)
def test_raw_leaves_the_chat_template_out(ask: Asked, raw: bool, there: str, absent: str) -> None:
    ask(replies("x"), raw=raw)
    assert there in ask.argv
    assert absent not in ask.argv


def test_a_death_is_explained(ask: Asked) -> None:
    with pytest.raises(SmoothdroidError, match="illegal instruction"):
        ask(replies("", "", status=132))


def test_an_answer_too_short_to_time_has_no_timings(ask: Asked) -> None:
    answer = ask(replies("Hello", "nothing here"))
    assert (answer.text, answer.timings) == ("Hello", None)
