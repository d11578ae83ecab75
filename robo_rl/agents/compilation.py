"""Compiled functions, and plain ones, said why, where they cannot be compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch


def compiled(functions: Sequence[Callable[..., Any]], *, wanted: bool) -> list[Callable[..., Any]]:
    """Return ``functions``, compiled by torch.compile if ``wanted``.

    They are compiled when first called. If that fails (there is no compiler, say), a warning says why, and from then on
    all of them run as they are: slower, the same numbers to rounding.
    """
    if not wanted:
        return list(functions)
    ways = [_Compiled(function) for function in functions]
    for each in ways:
        each.all = ways
    return list(ways)


class _Compiled:
    def __init__(self, function: Callable[..., Any]) -> None:
        self._plain = function
        self._call: Callable[..., Any] = torch.compile(function, fullgraph=True, dynamic=False)
        self._proven = False
        self.all: list[_Compiled] = []

    def __call__(self, *arguments: Any) -> Any:
        if self._proven:
            return self._call(*arguments)
        try:
            found = self._call(*arguments)
        except Exception as error:  # torch raises whatever its back ends raise
            reason = str(error).strip().splitlines()
            warnings.warn(f"not compiled: {reason[0] if reason else type(error).__name__}", stacklevel=2)
            for each in self.all:
                each._call, each._proven = each._plain, True
            return self._plain(*arguments)
        self._proven = True
        return found
