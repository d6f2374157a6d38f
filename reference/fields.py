"""What the code says of the fields of a pydantic model."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from reference.markdown import code


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Field -> the text under it, those of the classes that it builds on too."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if not issubclass(one, BaseModel) or one is BaseModel:
            continue
        try:
            source = inspect.getsource(one)
        except OSError:
            continue  # made from a table, not written as a class
        body = [node for part in ast.parse(source).body for node in ast.iter_child_nodes(part)]
        for field, text in pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(says))):
                    found[name] = " ".join(says.split())
    return found


def kind(field: FieldInfo) -> str:
    """Its type, as the code has it, without the modules' names."""
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", inspect.formatannotation(field.annotation))


def default(field: FieldInfo) -> str:
    """What a file may leave out becomes; nothing for what is then empty."""
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if value in ("", [], None) or isinstance(value, BaseModel):
        return ""
    return code(", ".join(map(str, value)) if isinstance(value, list) else value)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 (an annotation is anything)
    """The models that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)
