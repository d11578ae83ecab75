"""Settings: what a file or a command line says, checked field by field, made into objects, and back."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from robo_rl.errors import UserError, unknown_name

T = TypeVar("T")


def to_json(config: Any) -> dict[str, Any]:
    """Return a config dataclass as JSON values."""
    return _plain(asdict(config))


def from_json(kind: Callable[..., T], values: Mapping[str, Any], *, where: str = "config.json") -> T:
    """Call ``kind`` with what a file says; unknown and missing fields and wrong types are errors.

    Args:
        kind: a dataclass, another class, or a function; annotated.
        values: by field, as :func:`to_json` or a YAML file gives them; fields that are left out take their defaults.
        where: file and path of the fields so far, for messages.

    Raises:
        UserError: names field, value and expectation.
    """
    described = inspect.signature(kind).parameters
    hints = typing.get_type_hints(kind.__init__ if isinstance(kind, type) and not is_dataclass(kind) else kind)  # type: ignore[misc]
    for key in values:
        if key not in described:
            raise unknown_name(f"field in {where}:", str(key), described)
    for name, each in described.items():
        if name not in values and each.default is inspect.Parameter.empty:
            raise UserError(f"{where}: {name} is missing; expected {_say(hints[name])}")
    built = {key: _typed(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    try:
        return kind(**built)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def with_settings(config: T, settings: Mapping[str, Any], *, where: str) -> T:
    """Return ``config`` with fields replaced, each named by its dotted path (``agent.critic_lr``).

    Raises:
        UserError: if a path names no field, or a value is of the wrong type or refused.
    """
    values = to_json(config)
    for path, value in settings.items():
        *groups, name = path.split(".")
        at = values
        for group in groups:
            at = at.get(group, {})
            if not isinstance(at, dict):
                at = {}
        if name not in at:
            raise unknown_name(f"setting in {where}:", path, dotted_names(config))
        at[name] = _plain(value)
    return from_json(type(config), values, where=where)


def dotted_names(config: Any, prefix: str = "") -> list[str]:
    """Return the dotted path of every field of a config dataclass, nested ones included."""
    names: list[str] = []
    for f in fields(config):
        value = getattr(config, f.name)
        names += dotted_names(value, f"{prefix}{f.name}.") if is_dataclass(value) else [prefix + f.name]
    return names


def differences(old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
    """Return the dotted paths in which two configs of one type differ, with both values."""
    return {name: (a, b) for name in dotted_names(new) if (a := _value(old, name)) != (b := _value(new, name))}


def _value(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = getattr(config, part)
    return config


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def _typed(kind: Any, value: Any, where: str) -> Any:
    """Return ``value`` as the type that a field wants."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    quotes = "; put it in quotes" if kind is str and type(value) in (int, float) else ""
    wrong = UserError(f"{where}: {value!r} given, {_say(kind)} expected{quotes}")
    if origin in (types.UnionType, typing.Union):
        for option in inner:
            try:
                return _typed(option, value, where)
            except UserError as error:
                wrong = error if is_dataclass(option) and isinstance(value, dict) else wrong
        raise wrong
    if origin is typing.Literal:
        if value not in inner:
            raise unknown_name(f"value of {where}:", str(value), map(str, inner))
        return value
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise wrong
        return from_json(kind, value, where=where)  # type: ignore[arg-type]
    if _is(origin, Mapping):
        if not isinstance(value, dict):
            raise wrong
        return {str(key): _typed(inner[1], each, f"{where}.{key}") for key, each in value.items()}
    if _is(origin, Sequence):  # of a fixed length where it is a tuple of so many
        many = origin is not tuple or inner[-1] is Ellipsis
        if not isinstance(value, list | tuple) or (not many and len(value) != len(inner)):
            raise wrong
        return tuple(_typed(inner[0 if many else i], each, f"{where}[{i}]") for i, each in enumerate(value))
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is Any or (kind in (int, str, bool, type(None)) and type(value) is kind):
        return value
    raise wrong


def _is(origin: Any, kind: type) -> bool:
    return isinstance(origin, type) and issubclass(origin, kind)


def _say(kind: Any) -> str:
    """A type, for people."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(dict.fromkeys(_say(option) for option in inner))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, inner))}"
    if _is(origin, Mapping) or is_dataclass(kind):
        return "a section with fields"
    if _is(origin, Sequence):
        many = origin is not tuple or inner[-1] is Ellipsis
        return f"a list of {_say(inner[0])}" if many else f"a list of {len(inner)} numbers"
    names = {
        float: "a number", int: "a whole number", str: "text", bool: "true or false", type(None): "nothing",
        Path: "a path",
    }  # fmt: skip
    return names.get(kind, str(kind))
