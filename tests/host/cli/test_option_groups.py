from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from smoothdroid.host.cli.option_groups import option_groups, with_help


@dataclass(frozen=True)
class Place:
    street: Annotated[str, typer.Option("-s", "--street", help="A street.")] = "Main"
    number: Annotated[int, typer.Option(min=1)] = 1


def table(**values: int) -> dict[str, int]:
    return {name: value for name, value in values.items() if value}


table.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=0, annotation=Annotated[int, typer.Option(f"-{name[0]}")]
        )
        for name in ("batch", "depth")
    ]
)


def run(*arguments: str) -> str:
    app = typer.Typer()

    @app.command()
    @option_groups(place=Place, settings=table)
    def command(name: str, *, place: Place, loud: bool = False, settings: dict[str, int]) -> None:
        """Print what it got."""
        print(name, place, loud, settings)

    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_a_group_is_one_argument_of_the_command_and_its_options_keep_their_place() -> None:
    assert run("me").strip() == "me Place(street='Main', number=1) False {}"
    assert run("me", "-s", "High", "--loud", "-d", "3").strip() == "me Place(street='High', number=1) True {'depth': 3}"
    shown = run("--help")
    assert [shown.index(option) for option in ("--street", "--number", "--loud", "-b", "-d ")] == sorted(
        shown.index(option) for option in ("--street", "--number", "--loud", "-b", "-d ")
    )
    assert "A street." in shown


def test_two_groups_with_one_option_are_refused() -> None:
    with pytest.raises(ValueError, match="duplicate parameter name"):

        @option_groups(here=Place, there=Place)
        def command(here: Place, there: Place) -> None:
            """Use both."""


def test_a_help_text_is_replaced_in_one_command_only() -> None:
    app = typer.Typer()

    @app.command()
    @option_groups(place=with_help(Place, street="A street in the city."))
    def command(*, place: Place) -> None:
        """Print what it got."""
        print(place)

    shown = CliRunner().invoke(app, ["--help"]).output
    assert "A street in the city." in shown
    assert CliRunner().invoke(app, ["-s", "High"]).output.strip() == "Place(street='High', number=1)"
    assert "A street in the city." not in run("--help")
