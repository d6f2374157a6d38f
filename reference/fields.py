"""The fields of pydantic models as the code documents them: text, type and default."""

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
    """Return the docstring of each field, inherited fields included."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        try:
            source = inspect.getsource(base)
        except OSError:
            continue  # made from a table, not written as a class
        body = [node for part in ast.parse(source).body for node in ast.iter_child_nodes(part)]
        for field, text in pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(docstring))):
                    texts[name] = " ".join(docstring.split())
    return texts


def kind(field: FieldInfo) -> str:
    """Return the type of a field as the code writes it, without module names."""
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", inspect.formatannotation(field.annotation))


def default(field: FieldInfo) -> str:
    """Return the default of a field as code; `required` without one, and nothing for an empty default."""
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if value in ("", [], None) or isinstance(value, BaseModel):
        return ""
    return code(", ".join(map(str, value)) if isinstance(value, list) else value)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 (an annotation is anything)
    """Yield the models that a type annotation contains."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)
