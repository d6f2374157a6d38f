"""The rules of the house, read from the imports and calls that the code makes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.relative_to(ROOT) for top in ("host", "device") for path in (ROOT / top).rglob("*.py"))
PACKAGES = sorted({path.parent for path in MODULES})
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
    """The imports of modules below `inside` from `forbidden` packages, except `but`. Names lack `smoothdroid.`."""
    return [
        f"{path} imports {name}"
        for path in MODULES
        if path.is_relative_to(inside)
        for name in imports(path)
        if under(name, *names(forbidden)) and not under(name, *names(but))
    ]


def names(packages: Iterable[str]) -> list[str]:
    return [f"smoothdroid.{package}" for package in packages]


def test_there_is_something_to_look_at() -> None:
    looked_at = {Path("host/cli/command.py"), Path("device/transport/adb.py"), Path("host/model/prepare.py")}
    assert looked_at <= set(MODULES)
    assert "smoothdroid.host.results.cell.Cell" in imports(Path("host/bench/campaign.py"))


def test_everything_is_imported_by_one_name() -> None:
    """A module that is imported as `host.x` and as `smoothdroid.host.x` would be there twice."""
    files = [*EVERYTHING, *(path.relative_to(ROOT) for path in (ROOT / "benchmarks").rglob("*.py"))]
    assert [f"{path}: {name}" for path in files for name in imports(path) if under(name, "host", "device")] == []


def test_device_does_not_know_host() -> None:
    assert breaches("device", "host") == []


def package_of(name: str) -> Path | None:
    """The package of this project that a name like `smoothdroid.host.results.cell.Cell` is imported from."""
    parts = name.split(".")[1:] if under(name, "smoothdroid.host", "smoothdroid.device") else []
    folders = (Path(*parts[:count]) for count in range(len(parts), 0, -1))
    return next((folder for folder in folders if folder in PACKAGES), None)


def test_packages_do_not_import_each_other_in_a_circle() -> None:
    imported: dict[Path, set[Path]] = {package: set() for package in PACKAGES}
    for path in MODULES:
        found = {package_of(name) for name in imports(path)}
        imported[path.parent] |= {package for package in found if package and package != path.parent}
    list(TopologicalSorter(imported).static_order())  # raises CycleError


def test_a_package_has_few_files() -> None:
    sizes = {package: sum(path.parent == package for path in MODULES) for package in PACKAGES}
    assert {str(package): size for package, size in sizes.items() if size > 18} == {}


@pytest.mark.parametrize("package", ["model", "llamacpp", "bench"])
def test_the_arrows_do_not_know_each_other(package: str) -> None:
    lower = {"bench": {"llamacpp"}}  # a cell's command line and output are llama.cpp's
    arrows = {"model", "llamacpp", "bench", "report", "compare", "query", "predict", "bundle"}
    others = (arrows | {"cli", "doctor", "run"}) - {package} - lower.get(package, set())
    parsers = ("host.llamacpp.tool_output", "host.llamacpp.exit_causes")
    assert breaches(f"host/{package}", *(f"host.{other}" for other in others), but=parsers) == []


RECORDS = (
    "host.llamacpp.settings",
    "host.results",
    "host.gguf.artifact.Artifact",
    "host.model.evaluate.record",
    "host.model.provenance.manifest",
)


def test_report_reads_results_only() -> None:
    predictions = ("host.predict.results", "host.predict.roofline.Against")
    assert breaches("host/report", "host", but=("host.report", *predictions, *RECORDS)) == []


def test_query_reads_what_a_report_reads() -> None:
    data = ("host.report.data.rows", "host.report.data.safe_text")
    assert breaches("host/query", "host", but=("host.query", *data, *RECORDS)) == []


def test_predict_knows_models_and_cells_and_nothing_that_measures() -> None:
    assert breaches("host/predict", "host", but=("host.predict", "host.gguf", "host.results.cell")) == []


@pytest.mark.parametrize(
    ("homes", "libraries"),
    [
        (("host/model",), ("torch", "transformers", "safetensors")),
        (("device",), ("adbutils", "paramiko")),
        (("host/report",), ("matplotlib", "jinja2", "markupsafe")),
        (("host/query", "host/model/texts/parquet.py"), ("duckdb",)),
    ],
)
def test_a_library_has_its_home(homes: tuple[str, ...], libraries: tuple[str, ...]) -> None:
    strangers = [
        f"{path} imports {name}"
        for path in MODULES
        if not any(path.is_relative_to(home) for home in homes)
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


@pytest.mark.parametrize("path", [path for path in MODULES if path != Path("host/common/console.py")], ids=str)
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


FRAGMENT = re.compile(
    r"(Of|As|What|Those|Else|In|By|From|Nothing|Not|All|None|So|Then|Why|How|Whether|Where|Whose|Who|When|Which|With|At|On"
    r"|To|Is|Are|Can|And|Or|But|It|They|Its)\b"
)
"""First words that make a docstring depend on its neighbours."""

DOCUMENTED = ("host", "device", "smoothdroid", "reference", "benchmarks")


def docstrings(top: str) -> Iterator[tuple[str, str]]:
    """Yield (place, docstring) for each module, class and function below a folder."""
    for path in (ROOT / top).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if text := ast.get_docstring(node):
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'name', 'module')}", text


@pytest.mark.parametrize("top", DOCUMENTED)
def test_every_docstring_is_a_sentence_that_stands_alone(top: str) -> None:
    texts = dict(docstrings(top))
    assert len(texts) > 5
    assert [f"{place}: {text.splitlines()[0]}" for place, text in texts.items() if FRAGMENT.match(text)] == []


def test_no_folder_of_tests_is_passed_over(pytestconfig: pytest.Config) -> None:
    """Left to itself, pytest does not look into a folder called `build`."""
    passed_over = pytestconfig.getini("norecursedirs")
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")}
    assert Path("tests/host/llamacpp") in folders
    parts = {part for folder in folders for part in folder.parts}
    assert [part for part in parts if any(fnmatch(part, pattern) for pattern in passed_over)] == []


def test_no_two_files_of_tests_have_one_name() -> None:
    """Their folders are no packages: of two, pytest would load one and fail at the other."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def _checks(function: ast.AST, checking: set[str]) -> bool:
    """Whether a function may fail by what it sees: it asserts, expects an error, or calls a function that does."""
    return any(
        isinstance(node, ast.Assert | ast.Raise)
        or (isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in checking)
        for node in ast.walk(function)
    )


def test_every_test_has_an_assertion() -> None:
    """A test that only calls what must not raise writes `with does_not_raise():`."""
    files = [path for path in EVERYTHING if path.parts[0] == "tests"]
    functions = [(path, node) for path in files for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]
    checking, before = {"raises", "fail", "does_not_raise"}, 0
    while len(checking) > before:
        before = len(checking)
        checking |= {node.name for _, node in functions if _checks(node, checking)}
    tests = [(path, node.name) for path, node in functions if node.name.startswith("test_")]
    assert [f"{path}: {name}" for path, name in tests if name not in checking] == []


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


def test_no_two_classes_share_a_name() -> None:
    classes = [node.name for path in MODULES for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
    assert len(classes) > 100
    assert sorted({name for name in classes if classes.count(name) > 1}) == []
