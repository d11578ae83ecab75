"""gym-hil's step loop, run by the Python of a virtual environment that has gym-hil and nothing of ours.

Started by :mod:`benchmarks.peers`. Says what it is in one JSON line, then for each line on standard input, ``SECONDS``,
steps for at least that long with random actions and answers ``{"steps": ..., "seconds": ...}``. Resets are timed too.

    python gym_hil_peer.py state|pixels
"""

import json
import sys
import time
from importlib import metadata
from typing import Any

import gym_hil  # noqa: F401  registers the ids
import gymnasium


def main(kind: str) -> None:
    pixels = kind == "pixels"
    env = gymnasium.make("gym_hil/PandaPickCubeBase-v0", image_obs=pixels, disable_env_checker=True)
    obs, _ = env.reset(seed=0)
    env.action_space.seed(0)
    inner: Any = env.unwrapped
    env.step(env.action_space.sample())  # compiles, and opens the renderer
    about = {
        "env": "gym_hil/PandaPickCubeBase-v0",
        "substeps": inner._n_substeps,
        "physics_dt": inner._model.opt.timestep,
        "cameras": sorted(f"{name} {image.shape[0]}x{image.shape[1]}" for name, image in obs["pixels"].items())
        if pixels
        else [],
        "versions": {name: metadata.version(name) for name in ("gym-hil", "mujoco", "gymnasium", "numpy")},
    }
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        wanted, steps = float(line), 0
        started = time.perf_counter()
        while time.perf_counter() - started < wanted:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            steps += 1
            if terminated or truncated:
                env.reset()
        print(json.dumps({"steps": steps, "seconds": time.perf_counter() - started}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
