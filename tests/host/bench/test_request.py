from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.bench.request import Request, model_files, read_plan_file


def write(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_a_plan_with_all_forms_of_a_list(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        models = ["out/*.gguf", "other.gguf"]
        threads = [1, 2, "4-8"]
        prompt = 512
        generate = "128-256*2"
        cpus = ["big", "big+mid"]
        ask = "안녕하세요!"
        cache_k = ["f16", "q8_0"]
        sustained = "10m"
        """,
    )
    asked = read_plan_file(path)
    assert asked == Request.model_validate(
        {
            "models": [str(tmp_path / "out/*.gguf"), str(tmp_path / "other.gguf")],
            "threads": "1,2,4-8",
            "prompt": "512",
            "generate": "128-256*2",
            "cpus": ["big", "big+mid"],
            "ask": ["안녕하세요!"],
            "cache_k": "f16,q8_0",
            "sustained": "10m",
        }
    )


@pytest.mark.fault(
    "a plan, an inventory or another file begins with a byte order mark, as Windows' editors write it",
    transport="workstation",
    outcome="it is read",
)
def test_a_byte_order_mark_is_no_part_of_a_plan(tmp_path: Path) -> None:
    assert read_plan_file(write(tmp_path, "\ufeffthreads = 4")).threads == "4"


@pytest.mark.parametrize(
    "text", [f"threads = {'9' * 5000}", f"threads = {'[' * 5000}"], ids=["a number of 5000 digits", "5000 lists"]
)
def test_what_toml_cannot_hold_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput, match="is not valid TOML"):
        read_plan_file(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("thread = 4", "unknown key `thread`; did you mean `threads`?"),
        ("x = 4", "unknown key `x`; known: models, prompt,"),
        ("threads = true", "`threads`: write a number, a text or a list of them"),
        ("threads = [[1]]", "`threads`: write a number, a text or a list of them"),
        ("threads = 1.5", "`threads`: write a number"),
        ("repetitions = 'five'", "`repetitions`: Input should be a valid integer"),
        ("cpus = 4", "`cpus`: Input should be a valid list"),
        ("threads = ", r"plan.toml is not valid TOML: Invalid value \(at end"),
        ("threads = 1\nthreads = 2", "is not valid TOML: Cannot overwrite a value"),
        ("[bench]\nthreads = 1", "unknown key `bench`"),
    ],
)
def test_a_plan_with_a_mistake_names_it(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_plan_file(write(tmp_path, text))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_plan_file(write(tmp_path, "thread = 4\nrepetitions = 'x'"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_file_that_is_no_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_plan_file(tmp_path / "none.toml")
    large = write(tmp_path, "#" * (2 << 20))
    with pytest.raises(BadInput, match="larger than 1 MiB"):
        read_plan_file(large)
    large.write_bytes(b"\xff")
    with pytest.raises(BadInput, match="cannot be read"):
        read_plan_file(large)


def test_names_of_models_are_patterns(tmp_path: Path) -> None:
    for name in ("b.gguf", "a.gguf", "a.txt"):
        (tmp_path / name).touch()
    found = model_files([f"{tmp_path}/*.gguf", f"{tmp_path}/a.gguf", "missing.gguf"])
    assert found == [tmp_path / "a.gguf", tmp_path / "b.gguf", Path("missing.gguf")]
    with pytest.raises(BadInput, match=r"no file matches .*\*\.bin"):
        model_files([f"{tmp_path}/*.bin"])
