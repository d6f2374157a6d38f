"""The rules of the house, read from the imports and calls that the code makes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.relative_to(ROOT) for top in ("host", "device") for path in (ROOT / top).rglob("*.py"))
EVERYTHING = sorted([*MODULES, *(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py"))])


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def imports(path: Path) -> Iterator[str]:
    """Every name that a module imports, wherever in it: `host.bench.plan.Cell`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call))


def under(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def breaches(inside: str, *forbidden: str, but: tuple[str, ...] = ()) -> list[str]:
    """What modules below `inside` import from `forbidden`, except `but`."""
    return [
        f"{path} imports {name}"
        for path in MODULES
        if path.is_relative_to(inside)
        for name in imports(path)
        if under(name, *forbidden) and not under(name, *but)
    ]


def test_there_is_something_to_look_at() -> None:
    assert {Path("host/cli/command.py"), Path("device/adb.py"), Path("host/model/smooth.py")} <= set(MODULES)
    assert "host.bench.cell.Cell" in imports(Path("host/bench/campaign.py"))


def test_device_does_not_know_host() -> None:
    assert breaches("device", "host") == []


@pytest.mark.parametrize("package", ["model", "build", "bench"])
def test_the_arrows_do_not_know_each_other(package: str) -> None:
    arrows = {"model", "build", "bench", "report", "query", "predict", "bundle"}
    others = (arrows | {"cli", "console", "doctor", "prompt"}) - {package}
    assert breaches(f"host/{package}", *(f"host.{other}" for other in others)) == []


def test_report_reads_results_only() -> None:
    records = (
        "host.bench.results",
        "host.bench.artifact.Artifact",
        "host.bench.plan",
        "host.bench.cell",
        "host.model.evaluation",
        "host.model.manifest",
    )
    predictions = ("host.predict.results", "host.predict.roofline.Against")
    pure = ("host.bench.stats", "host.bench.judged", "host.bench.verdict", "host.bench.finding", "host.bench.masks")
    assert breaches("host/report", "host", but=("host.report", *predictions, *records, *pure)) == []


def test_query_reads_what_a_report_reads() -> None:
    records = ("host.bench.results", "host.bench.artifact.Artifact")
    assert (
        breaches(
            "host/query", "host", but=("host.query", "host.report.rows", "host.report.shown", "host.lock", *records)
        )
        == []
    )


def test_predict_knows_models_and_cells_and_nothing_that_measures() -> None:
    records = ("host.bench.artifact", "host.bench.shape", "host.bench.cell")
    assert breaches("host/predict", "host", but=("host.predict", *records)) == []


@pytest.mark.parametrize(
    ("home", "libraries"),
    [
        ("host/model", ("torch", "transformers", "safetensors")),
        ("device", ("adbutils", "paramiko")),
        ("host/report", ("matplotlib", "jinja2", "markupsafe")),
        ("host/query", ("duckdb",)),
    ],
)
def test_a_library_has_one_home(home: str, libraries: tuple[str, ...]) -> None:
    strangers = [
        f"{path} imports {name}"
        for path in MODULES
        if not path.is_relative_to(home)
        for name in imports(path)
        if under(name, *libraries)
    ]
    assert strangers == []


@pytest.mark.parametrize("path", EVERYTHING, ids=str)
def test_no_shell_no_pickle(path: Path) -> None:
    for call in calls(path):
        for keyword in call.keywords:
            assert keyword.arg != "shell" or ast.unparse(keyword.value) == "False", ast.unparse(call)
        assert ast.unparse(call.func) not in ("os.system", "os.popen", "eval", "exec"), ast.unparse(call)
    for name in imports(path):
        assert not under(name, "pickle", "cPickle", "dill", "joblib", "shelve", "marshal"), name


@pytest.mark.parametrize("path", [path for path in MODULES if path != Path("host/console.py")], ids=str)
def test_only_the_console_prints(path: Path) -> None:
    runs_on_its_own = path == Path("device/virtual/init.py")  # the emulated phone's process 1: stderr is its log
    for call in calls(path):
        if ast.unparse(call.func) == "print":
            assert runs_on_its_own, ast.unparse(call)


@pytest.mark.parametrize("path", [path for path in MODULES if path != Path("host/cli/command.py")], ids=str)
def test_only_the_command_line_exits(path: Path) -> None:
    runs_on_its_own = path.is_relative_to("device/virtual")
    for call in calls(path):
        if ast.unparse(call.func) in ("sys.exit", "exit", "quit", "os._exit"):
            assert runs_on_its_own, ast.unparse(call)


def test_no_folder_of_tests_is_passed_over(pytestconfig: pytest.Config) -> None:
    """Left to itself, pytest does not look into a folder called `build`."""
    passed_over = pytestconfig.getini("norecursedirs")
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")}
    assert Path("tests/host/build") in folders
    parts = {part for folder in folders for part in folder.parts}
    assert [part for part in parts if any(fnmatch(part, pattern) for pattern in passed_over)] == []


def test_no_two_files_of_tests_have_one_name() -> None:
    """Their folders are no packages: of two, pytest would load one and fail at the other."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []


_TEXT_MODE = re.compile(r"[rwax][t+]*")
_RUNS_A_PROGRAM = ("run", "Popen", "check_output")


def _locale_decides(call: ast.Call) -> bool:
    """Whether a call reads or writes text in whatever encoding the locale names."""
    name = ast.unparse(call.func)
    options = {option.arg: option.value for option in call.keywords}
    literals = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    if "encoding" in options:
        return False
    if name.endswith((".read_text", ".write_text")):
        return len(call.args) < (1 if name.endswith(".read_text") else 2)
    if name in ("open", "os.fdopen"):
        modes = [ast.unparse(mode).strip("'") for mode in (*call.args[1:2], *filter(None, [options.get("mode")]))]
        return all("b" not in mode for mode in modes)
    if name.endswith(".open"):  # os.open's and other packages' have no mode of this form
        return any(isinstance(mode, str) and bool(_TEXT_MODE.fullmatch(mode)) for mode in literals[:1])
    return name.rpartition(".")[2] in _RUNS_A_PROGRAM and bool({"text", "universal_newlines"} & options.keys())


# What runs on the emulated phone's own Debian reads programs' output in ASCII.
@pytest.mark.parametrize("path", [path for path in MODULES if not path.is_relative_to("device/virtual")], ids=str)
def test_no_text_is_in_the_locales_encoding(path: Path) -> None:
    assert [ast.unparse(call) for call in calls(path) if _locale_decides(call)] == []


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("open(path)", True),
        ("open(path, 'w')", True),
        ("open(path, 'rb')", False),
        ("open(path, mode='rb')", False),
        ("path.open('a')", True),
        ("path.open('ab+')", False),
        ("path.open('w', encoding='utf-8')", False),
        ("os.open(path, flags)", False),
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.write_text(text)", True),
        ("subprocess.run(argv, text=True)", True),
        ("subprocess.run(argv, encoding='utf-8')", False),
        ("subprocess.Popen(argv, stdout=PIPE)", False),
    ],
)
def test_a_text_in_the_locales_encoding_is_found(call: str, found: bool) -> None:
    parsed = ast.parse(call, mode="eval").body
    assert isinstance(parsed, ast.Call)
    assert _locale_decides(parsed) is found
