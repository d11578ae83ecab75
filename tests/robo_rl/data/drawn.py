"""Episodes that hypothesis draws, and what it means that two are the same."""

import dataclasses

import numpy as np
import torch
from hypothesis import strategies as st

from robo_rl.contracts import PROVENANCE
from robo_rl.data.episodes import Episode
from robo_rl.data.formats.foreign import described

KINDS = {
    "state": ((3,), "float32"),
    "proprio": ((5,), "float32"),
    "tracked.pose": ((2, 3), "float64"),
    "count": ((), "int64"),
    "contact": ((2,), "bool"),
    "one": ((1,), "float32"),
    "bytes": ((4,), "uint8"),
    "front.rgb": ((4, 6, 3), "uint8"),
    "depth": ((6, 4, 1), "uint8"),
}
ENDS = ("terminated", "truncated", "interrupted")


def numbers(rng, shape, dtype):
    if dtype == "bool":
        return torch.from_numpy(np.asarray(rng.random(shape) < 0.5))
    if dtype.startswith("float"):
        return torch.from_numpy(np.asarray(rng.standard_normal(shape) * 10.0 ** rng.integers(-9, 9)).astype(dtype))
    top = 256 if dtype == "uint8" else 2**60
    return torch.from_numpy(np.asarray(rng.integers(0, top, shape)).astype(dtype))


def make_episode(seed=0, steps=5, keys=("state",), end="terminated", human=False, actions=2, **metadata):
    rng = np.random.default_rng(seed)
    obs = {key: numbers(rng, (steps + 1, *KINDS[key][0]), KINDS[key][1]) for key in keys}
    flags = {name: torch.zeros(steps, dtype=torch.bool) for name in ("terminated", "truncated", "success")}
    if end in flags:
        flags[end][-1] = True
    flags["success"][-1] = end == "terminated"
    said = {}
    if human:
        segment = torch.from_numpy(rng.integers(-1, 3, steps))
        kinds = {
            "policy_action": ((actions,), "float32"),
            "human_action": ((actions,), "float32"),
            "segment": segment,
            "latency": ((), "float32"),
            **dict.fromkeys(("active", "onset", "offset"), ((), "bool")),
            **dict.fromkeys(("authority", "device", "label"), ((), "uint8")),
        }
        said = {
            name: kind if isinstance(kind, torch.Tensor) else numbers(rng, (steps, *kind[0]), kind[1])
            for name, kind in kinds.items()
        }
        said["authority"] %= 4
        assert set(said) == set(PROVENANCE)
    action = numbers(rng, (steps, actions), "float32")
    about = {"task": "reach", "robot": "panda", "source": "human", "seed": 4, "control_dt": 0.05, **metadata}
    return Episode(
        obs,
        action,
        numbers(rng, (steps, actions), "float32"),
        numbers(rng, (steps,), "float32"),
        **flags,
        metadata={**about, **described(obs, action)},
        provenance=said,
    )


@st.composite
def datasets(draw, keys=tuple(KINDS)):
    """One to three episodes of the same layout."""
    chosen = draw(st.lists(st.sampled_from(keys), min_size=1, unique=True))
    human, actions = draw(st.booleans()), draw(st.integers(1, 3))
    return [
        make_episode(
            draw(st.integers(0, 2**32)),
            draw(st.integers(1, 6)),
            chosen,
            draw(st.sampled_from(ENDS)),
            human,
            actions,
            note=draw(st.text(max_size=5)),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]


def differences(one, other):
    """Names of what is not the same, to the bit and the kind of number."""
    names = [field.name for field in dataclasses.fields(Episode) if field.name not in ("obs", "provenance", "metadata")]
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in names}
    for part in ("obs", "provenance"):
        mine, theirs = getattr(one, part), getattr(other, part)
        pairs |= {f"{part}/{key}": (mine.get(key), theirs.get(key)) for key in mine.keys() | theirs.keys()}
    found = [
        name
        for name, (a, b) in pairs.items()
        if a is None or b is None or a.dtype != b.dtype or a.shape != b.shape or not torch.equal(a, b)
    ]
    about = [{k: v for k, v in each.metadata.items() if k != "format"} for each in (one, other)]
    return found + ["metadata"] * (about[0] != about[1])


def assert_same(episodes, others):
    others = list(others)
    assert len(episodes) == len(others), others
    for one, other in zip(episodes, others, strict=True):
        assert isinstance(other, Episode), other
        assert differences(one, other) == []
