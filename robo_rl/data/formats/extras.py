"""Libraries that only conversions need."""

from __future__ import annotations

import importlib
from typing import Any

from robo_rl.errors import MissingExtra


def library(name: str) -> Any:
    """Import ``name``, a part of the extra ``data``.

    Raises:
        MissingExtra: if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(f"conversion of datasets ({name.split('.')[0]})", "data") from error
