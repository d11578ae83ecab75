"""Compiled functions, and plain ones, said why, where they cannot be compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map


class Compiler:
    """Compiles functions of one learner; if one of them cannot be compiled, none is.

    They are compiled when first called, which takes tens of seconds. If that fails (there is no C++ compiler, say), a
    warning says why, and learning goes on without: slower, with the same numbers to rounding.

    Args:
        device: where the functions compute. On CUDA they are recorded as CUDA graphs (mode ``reduce-overhead``), whose
            memory the next call takes again: what they return is copied.
        wanted: whether anything is compiled at all.

    Attributes:
        works: whether functions are compiled.

    Example:
        >>> compiler = Compiler(device, wanted=config.compile)       # doctest: +SKIP
        >>> quick = compiler.of(function)                            # doctest: +SKIP
        >>> found = quick(x)                                         # doctest: +SKIP
        >>> if not compiler.works: found = function(x)               # doctest: +SKIP  where x was to be left alone
    """

    def __init__(self, device: torch.device, *, wanted: bool) -> None:
        self._graphs, self.works = device.type == "cuda", wanted

    def of(self, function: Callable[..., Any], otherwise: Callable[..., Any] | None = None) -> Callable[..., Any]:
        """Return ``function``, compiled; where that is not wanted, ``otherwise``.

        Args:
            function: of tensors, sequences of tensors and constants; one graph.
            otherwise: what is called instead once compilation has failed; None: nothing, and None is returned.
        """
        if not self.works:
            return otherwise or function
        quick: Callable[..., Any] = torch.compile(
            function, fullgraph=True, dynamic=False, mode="reduce-overhead" if self._graphs else None
        )

        def call(*arguments: Any) -> Any:
            if self.works:
                if self._graphs:
                    torch.compiler.cudagraph_mark_step_begin()
                try:
                    found = quick(*arguments)
                except Exception as error:  # torch raises whatever its back ends raise
                    reason = str(error).strip().splitlines()
                    warnings.warn(f"not compiled: {reason[0] if reason else type(error).__name__}", stacklevel=2)
                    self.works = False
                else:
                    return tree_map(_copied, found) if self._graphs else found
            return None if otherwise is None else otherwise(*arguments)

        return call

    def stay(self, tensors: Sequence[Tensor]) -> None:
        """Promise that arguments keep their place in memory: CUDA graphs change them in place instead of copies."""
        if self._graphs:
            for tensor in tensors:
                torch._dynamo.mark_static_address(tensor)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
