"""Cell files: read, checked and written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hardware.cell import Cell
from hardware.devices import check_settings
from robo_rl.errors import UserError, unknown_name
from robo_rl.settings import from_json
from robo_rl.training.durable import write_text

SHIPPED = Path(__file__).with_name("cells")
"""Folder of the cell files that go by their name."""


def load_cell(name: str | Path) -> Cell:
    """Read a cell file, or one that is shipped, by its name.

    Raises:
        UserError: in one line: the file, the field, its value, what is expected.
    """
    path = Path(name)
    if not path.suffix and not path.exists():
        path = SHIPPED / f"{name}.yaml"
        if not path.exists():
            raise unknown_name("cell (nor is there such a file)", str(name), [each.stem for each in shipped()])
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"cell file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"cell file {path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"cell file {path}: expected fields such as name, arms and cameras, got {values!r}")
    cell = from_json(Cell, values, where=str(path))
    try:
        check_settings(cell)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return cell


def save_cell(cell: Cell, path: Path) -> None:
    """Write a cell to a file that :func:`load_cell` reads.

    Raises:
        StorageError: if it could not be stored.
    """
    write_text(path, yaml.safe_dump(_plain(dataclasses.asdict(cell)), sort_keys=False))


def shipped() -> list[Path]:
    """The cell files that go by their name."""
    return sorted(SHIPPED.glob("*.yaml"))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
