"""Everything a learner needs to go on, as one flat dictionary of tensors, and back, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robo_rl.errors import UserError

Part = nn.Module | Tensor | Optimizer | torch.Generator
"""What a learner is made of. A tensor (a parameter or a counter) is restored in place."""


def pack(parts: Mapping[str, Part]) -> dict[str, Tensor]:
    """Copy the state of all parts, named ``part.entry``: contiguous tensors that share no storage."""
    return {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in _entries(parts).items()}


def unpack(parts: Mapping[str, Part], state: Mapping[str, Tensor]) -> None:
    """Put what :func:`pack` gave back into parts of the same make.

    Raises:
        UserError: if ``state`` lacks an entry, has one too many, or one of another shape; nothing is changed then.
    """
    optimisers = {name: part for name, part in parts.items() if isinstance(part, Optimizer)}
    rest = {name: part for name, part in parts.items() if name not in optimisers}
    moments = {key: value for key, value in state.items() if key.split(".")[0] in optimisers}
    expected = _entries(rest)
    for key in expected.keys() ^ (state.keys() - moments.keys()):
        raise UserError(f"the checkpoint is of another agent: it {'lacks' if key in expected else 'also has'} {key!r}")
    for key, value in expected.items():
        if value.shape != state[key].shape:
            raise UserError(
                f"the checkpoint is of another agent: {key!r} is {tuple(state[key].shape)}, not {tuple(value.shape)}"
            )
    for key, value in expected.items():
        value.detach().copy_(state[key])
    for name, part in rest.items():
        if isinstance(part, torch.Generator):
            part.set_state(state[name].cpu())
    for name, optimiser in optimisers.items():
        optimiser.state.clear()
        for i, parameter in enumerate(_parameters(optimiser)):
            prefix = f"{name}.{i}."
            found = {k.removeprefix(prefix): v for k, v in moments.items() if k.startswith(prefix)}
            if found:
                optimiser.state[parameter] = {k: v.to(parameter.device, copy=True) for k, v in found.items()}


def _entries(parts: Mapping[str, Part]) -> dict[str, Tensor]:
    entries: dict[str, Tensor] = {}
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            entries |= {f"{name}.{key}": value for key, value in part.state_dict().items()}
        elif isinstance(part, Tensor):
            entries[name] = part
        elif isinstance(part, torch.Generator):
            entries[name] = part.get_state()
        else:
            for i, parameter in enumerate(_parameters(part)):
                entries |= {f"{name}.{i}.{key}": value for key, value in part.state.get(parameter, {}).items()}
    return entries


def _parameters(optimiser: Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
