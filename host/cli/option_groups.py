"""Groups of options that several commands have, each handed to a command as one argument."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, TypeVar, get_args

Command = Callable[..., None]
Value = TypeVar("Value")


def option_groups(**groups: Callable[..., object]) -> Callable[[Command], Command]:
    """Return a decorator that replaces parameters of a command by the options of a group.

    A group is a callable whose parameters are the options, annotated as Typer wants them, and whose return value is
    the command's argument. Its signature may be generated: set `__signature__` to one with evaluated annotations.

        @app.command()
        @option_groups(phone=OnePhone)
        def jobs(*, phone: OnePhone, json: Json = False) -> None: ...
    """
    options = {name: inspect.signature(group, eval_str=True).parameters for name, group in groups.items()}

    def decorate(command: Command) -> Command:
        parameters: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
            parameters += options[name].values() if name in options else [parameter]

        @functools.wraps(command)
        def called(**values: object) -> None:
            for name, group in groups.items():
                values[name] = group(**{option: values.pop(option) for option in options[name]})
            command(**values)

        keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        called.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
        return called

    return decorate


def with_help(group: Callable[..., Value], **texts: str) -> Callable[..., Value]:
    """Return a group like `group`, with other help texts for the options named."""
    parameters = dict(inspect.signature(group, eval_str=True).parameters)
    for name, text in texts.items():
        kind, option = get_args(parameters[name].annotation)
        option = copy.copy(option)
        option.help = text
        parameters[name] = parameters[name].replace(annotation=Annotated[kind, option])

    def described(**values: object) -> Value:
        return group(**values)

    described.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    return described
