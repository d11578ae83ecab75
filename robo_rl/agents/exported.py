"""A policy in one file, acting in plain NumPy: within microseconds, and where there is no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robo_rl.errors import UserError

if TYPE_CHECKING:
    from robo_rl.agents.networks import Policy

_FORMAT = "robo_rl policy 1"
_EPS = np.float32(1e-5)  # of layer norm, as torch's


class ExportedPolicy:
    """The mode of a tanh-Gaussian policy on vectors: ``a = tanh(mean(obs))``.

    Example:
        >>> policy = ExportedPolicy.load("policy.safetensors")                        # doctest: +SKIP
        >>> action = policy.act({"state": reading})                                   # doctest: +SKIP

    Args:
        weights: of each layer, (inputs, outputs) float32, the last one giving the means.
        biases: of each layer, (outputs,).
        scales: of the norms after the hidden layers, (outputs,); empty without.
        shifts: of these norms.
        widths: numbers of each observation, by name.
        about: what else is known: task, robot, steps of training.
    """

    def __init__(
        self,
        weights: list[np.ndarray],
        biases: list[np.ndarray],
        scales: list[np.ndarray],
        shifts: list[np.ndarray],
        widths: Mapping[str, int],
        about: Mapping[str, Any],
    ) -> None:
        self.widths, self.about = dict(widths), dict(about)
        self._keys = sorted(self.widths)
        hidden = list(zip(weights[:-1], biases[:-1], strict=True))
        norms: list[tuple[np.ndarray, np.ndarray] | None] = [*zip(scales, shifts, strict=True)] or [None] * len(hidden)
        self._hidden = [
            (weight, bias, norm, np.empty(len(bias), np.float32))
            for (weight, bias), norm in zip(hidden, norms, strict=True)
        ]
        self._last = weights[-1], biases[-1]
        self.actions = len(biases[-1])

    def act(self, obs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the action (A,) in [-1, 1] for one observation, each (n,); not for several threads at once.

        Raises:
            UserError: if an observation is missing or of another width.
        """
        try:
            vectors = [obs[key] for key in self._keys]
        except KeyError as error:
            raise UserError(f"observation {error} is missing; the policy needs {', '.join(self._keys)}") from None
        x = np.asarray(vectors[0] if len(vectors) == 1 else np.concatenate(vectors), np.float32)
        if x.shape != self._hidden[0][0].shape[:1]:
            raise UserError(f"observation has shape {x.shape}; {self.widths} numbers are expected")
        for weight, bias, norm, out in self._hidden:
            np.dot(x, weight, out=out)
            out += bias
            if norm is not None:
                out -= out.mean()
                out *= 1.0 / np.sqrt(np.dot(out, out) / np.float32(len(out)) + _EPS)
                out *= norm[0]
                out += norm[1]
            x = np.maximum(out, 0.0, out=out)
        weight, bias = self._last
        return np.tanh(np.dot(x, weight) + bias)

    def save(self, path: Path | str) -> None:
        """Write it as safetensors; what it is stands in the header."""
        from safetensors.numpy import save_file

        tensors: dict[str, np.ndarray] = {}
        for i, (weight, bias, norm, _) in enumerate(self._hidden):
            tensors |= {f"weight.{i}": weight, f"bias.{i}": bias}
            if norm is not None:
                tensors |= {f"scale.{i}": norm[0], f"shift.{i}": norm[1]}
        tensors |= {"weight.out": self._last[0], "bias.out": self._last[1]}
        header = {"format": _FORMAT, "widths": json.dumps(self.widths), "about": json.dumps(self.about)}
        save_file(tensors, path, metadata=header)

    @classmethod
    def load(cls, path: Path | str) -> ExportedPolicy:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: if it is no such file.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} is no exported policy ({error}); make one by robo-rl export RUN") from None
        if header.get("format") != _FORMAT:
            raise UserError(f"{path} is no exported policy of this version; make one by robo-rl export RUN")
        names = [*(str(i) for i in range(sum(name.startswith("weight.") for name in tensors) - 1)), "out"]
        normed = names[:-1] if "scale.0" in tensors else []
        return cls(
            [tensors[f"weight.{name}"] for name in names],
            [tensors[f"bias.{name}"] for name in names],
            [tensors[f"scale.{name}"] for name in normed],
            [tensors[f"shift.{name}"] for name in normed],
            json.loads(header["widths"]),
            json.loads(header["about"]),
        )

    @classmethod
    def of(cls, policy: Policy, widths: Mapping[str, int], about: Mapping[str, Any]) -> ExportedPolicy:
        """Copy a trained policy.

        Args:
            policy: on vectors.
            widths: numbers of each observation that it looks at, by name.
            about: what else to keep.
        """

        def array(tensor: Any) -> np.ndarray:
            return np.ascontiguousarray(tensor.detach().cpu().float().numpy())

        actions = policy.actions
        layers: Any = policy.layers
        return cls(
            [*(array(layer.weight.t()) for layer in layers), array(policy.output.weight[:actions].t())],
            [*(array(layer.bias) for layer in layers), array(policy.output.bias[:actions])],
            [array(norm.weight) for norm in policy.norms],
            [array(norm.bias) for norm in policy.norms],
            widths,
            about,
        )
