"""The fields of a task as options of the command line: ``--task.clearance 0.0005``."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import sys
import textwrap
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import tyro

from robo_rl.errors import UserError, unknown_name
from robo_rl.settings import from_json

_NOT_OPTIONS = frozenset({"robot", "name"})  # The robot has an option of its own.

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class GymOptions:
    """What can be told of a Gymnasium environment."""

    horizon: int | None = None
    """Steps after which an episode is cut; None: what the environment is registered with."""


def options_of(task: type) -> type:
    """Return a dataclass of the task's fields that a user may set, with their types, defaults and help.

    Args:
        task: a frozen dataclass.

    Raises:
        UserError: if the task is no dataclass.
    """
    if not dataclasses.is_dataclass(task):
        raise UserError(f"task {task.__name__} is no dataclass; decorate it with @dataclass(frozen=True)")
    helps = field_docs(task)
    columns: list[tuple[str, Any, Any]] = []
    for f in dataclasses.fields(task):
        given = f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
        hint = _hint(task, f.name)
        if f.init and f.name not in _NOT_OPTIONS and given and _settable(hint):
            annotated = _annotated(hint, help=helps.get(f.name, ""))
            default = dataclasses.field(default=f.default, default_factory=f.default_factory)
            columns.append((f.name, annotated, default))
    return dataclasses.make_dataclass(f"{task.__name__}Options", columns, frozen=True)


def with_task_options(base: type[T], options: type, chosen: Any) -> type[T]:
    """Return the arguments of a command with the task's options beside them, as ``--task.FIELD``.

    Args:
        base: a frozen dataclass, the arguments; what it has as ``task_options`` is replaced.
        options: from :func:`options_of`.
        chosen: an instance of it, the values where nothing is given.
    """
    fields = [
        ("task", tyro.conf.Suppress[str], dataclasses.field(default="")),  # Known by now, or there were no options.
        ("task_options", _annotated(options, name="task"), dataclasses.field(default=chosen)),
    ]
    return dataclasses.make_dataclass(base.__name__, fields, bases=(base,), frozen=True)


def read_options(options: type, values: Mapping[str, Any], *, where: str) -> Any:
    """Return the options with ``values`` set.

    Raises:
        UserError: if a name is unknown, with the nearest ones, or a value of the wrong type.
    """
    names = [f.name for f in dataclasses.fields(options)]
    for name in values:
        if name not in names:
            raise unknown_name(f"field of the task ({where})", name, names)
    return from_json(options, values, where=where)


def field_docs(kind: type) -> dict[str, str]:
    """Return the string literal under each field of a dataclass, of its bases too; nothing where there is no source."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for field, doc in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                docs.pop(field.target.id, None)  # Without one of its own, a field does not mean what its base says.
                if (
                    isinstance(doc, ast.Expr)
                    and isinstance(doc.value, ast.Constant)
                    and isinstance(doc.value.value, str)
                ):
                    docs[field.target.id] = inspect.cleandoc(doc.value.value)
    return docs


def _hint(task: type, field: str) -> Any:
    """The type of one field, None where its name is not known at run time.

    Each is looked up by itself: one that is imported for type checking only must not hide the others.
    """
    owner = next(base for base in task.__mro__ if field in inspect.get_annotations(base))
    annotations = types.SimpleNamespace(__annotations__={field: inspect.get_annotations(owner)[field]})
    try:
        return typing.get_type_hints(annotations, vars(sys.modules[owner.__module__]))[field]
    except NameError:
        return None


def _annotated(kind: Any, **about: Any) -> Any:
    return Annotated.__class_getitem__((kind, tyro.conf.arg(**about)))  # type: ignore[attr-defined]


def _settable(hint: Any) -> bool:
    """Whether a value of this type can be written on a command line and in JSON."""
    if hint in (int, float, bool, str, type(None)):
        return True
    arguments = [argument for argument in typing.get_args(hint) if argument is not ...]
    if typing.get_origin(hint) is typing.Literal:
        return True
    return bool(arguments) and all(_settable(argument) for argument in arguments)
