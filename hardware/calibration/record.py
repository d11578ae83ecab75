"""Puts calibrations into a cell file, and leaves the rest of the file as it is, comments included."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hardware.calibration.poses import CalibrationError, checked_poses
from robo_rl import geometry
from robo_rl.errors import UserError
from robo_rl.training.durable import write_text

KEY = "calibration"


def pose_entry(T: np.ndarray) -> dict[str, list[float]]:
    """Write a pose (4, 4) as a cell file has it: ``pos``, m, and ``quat`` wxyz."""
    T = checked_poses("pose", np.asarray(T, dtype=float)[None], 1, "")[0]
    return {"pos": _plain(T[:3, 3]), "quat": _plain(geometry.to_quat_wxyz(T[:3, :3]))}


def write_calibration(path: Path, section: str, value: Mapping[str, Any], residual: Mapping[str, float]) -> None:
    """Put a result into the ``calibration`` of a cell file.

    What stands there under ``section`` is replaced, everything else stays: the text outside of ``calibration`` to the
    letter. The file is replaced whole or not at all.

    Example:
        >>> write_calibration(path, "cameras.wrist", pose_entry(T_tool_camera), {"position_mm": 0.4})  # doctest: +SKIP

    writes::

        calibration:
          cameras:
            wrist:
              pos: [0.05, -0.02, 0.08]
              quat: [0.81, 0.1, -0.1, 0.57]
              residual: {position_mm: 0.4}

    Args:
        path: of the cell file.
        section: where it belongs, levels separated by points.
        value: numbers, arrays, names.
        residual: how well it fits, by quantity with its unit.

    Raises:
        UserError: if the file is not there or no cell file, if the section goes through something that has a value of
            its own, or if a number is not finite.
    """
    path = path.resolve()  # a link keeps pointing at the file
    if not path.is_file():
        there = sorted(each.name for each in path.parent.glob("*.y*ml"))
        near = difflib.get_close_matches(path.name, there, n=1)
        raise UserError(f"there is no cell file {path}" + (f"; did you mean {near[0]}?" if near else ""))
    text = path.read_text()
    try:
        cell = yaml.safe_load(text)
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(cell, dict) or not isinstance(tree, yaml.MappingNode):
        raise UserError(f"{path} is no cell file: its top level has to be fields with values")
    calibration = cell.get(KEY)
    calibration = {} if calibration is None else calibration
    if not isinstance(calibration, dict):
        raise UserError(f"{path}: {KEY} is {calibration!r}; it has to be fields with values")
    keys = section.split(".")
    if not all(keys):
        raise UserError(f"section {section!r} has an empty level; write it like cameras.wrist")
    place = calibration
    for depth, key in enumerate(keys[:-1], start=1):
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise UserError(f"{path}: {KEY}.{'.'.join(keys[:depth])} is {place!r}; nothing can be put below it")
    place[keys[-1]] = {**_plain(value), "residual": _plain(residual)}
    cell[KEY] = calibration
    block = yaml.dump({KEY: calibration}, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    written = _spliced(text, tree, block)
    if not _says(written, yaml.safe_load(yaml.safe_dump(cell))):
        raise UserError(
            f"{path}: {KEY} cannot be replaced without touching the rest; write the file in block style, one field a "
            "line, without anchors in this section"
        )
    write_text(path, written)


def _says(text: str, cell: Any) -> bool:
    try:
        return bool(yaml.safe_load(text) == cell)
    except yaml.YAMLError:
        return False


class _Dumper(yaml.SafeDumper):
    """Numbers in rows, everything else in blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        rows = all(isinstance(each, int | float) for each in sequence)
        return super().represent_sequence(tag, sequence, flow_style=rows)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        return super().represent_mapping(tag, mapping, flow_style=False)


def _spliced(text: str, tree: yaml.MappingNode, block: str) -> str:
    """Return ``text`` with its calibration replaced by ``block``, or with ``block`` at its end."""
    lines = text.splitlines(keepends=True)
    for key, value in tree.value:
        if key.value == KEY:
            first, last = key.start_mark.line, value.end_mark.line
            if value.end_mark.column:
                last += 1
            # A block reaches up to the next field: comments and empty lines before that belong to it, not to us.
            while last > first + 1 and not lines[last - 1].startswith((" ", "\t", "-", KEY)):
                if lines[last - 1].strip() and not lines[last - 1].startswith("#"):
                    break
                last -= 1
            return "".join(lines[:first]) + block + "".join(lines[last:])
    gap = "" if not text or text.endswith("\n") else "\n"
    return text + gap + block


def _plain(value: Any) -> Any:
    """Return ``value`` in the types that YAML knows, numbers to a nanometre.

    Raises:
        CalibrationError: if a number is not finite.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if not np.isfinite(value):
            raise CalibrationError(f"a calibration of {value} is not written; measure again")
        return round(value, 9) + 0.0  # no -0.0
    return value
