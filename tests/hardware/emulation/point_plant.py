"""A plant without an engine: joints of unit inertia that nothing couples, and one object."""

from __future__ import annotations

import numpy as np

from robo_rl.contracts.plant import Measured
from robo_rl.errors import unknown_name
from robo_rl.robots import robot

SPEC = robot("fr3")


class PointPlant:
    def __init__(self, load: float = 0.0) -> None:
        self.spec, self.timestep = SPEC, 0.001
        self.q, self.dq = np.array(SPEC.home), np.zeros(7)
        self.load = load  # torque that nobody compensates
        self.applied: list[np.ndarray] = []
        self.width = 0.04
        self.reckoned = 0.0, np.zeros(3)  # with what its gravity compensation was told to
        self.objects = {"cube": (np.zeros(3), np.eye(3))}

    def step(self, torque):
        self.applied.append(torque.copy())
        self.dq = self.dq + 0.001 * (torque + self.load)
        self.q = self.q + 0.001 * self.dq

    def measure(self):
        return Measured(self.q.copy(), self.dq.copy(), np.full(7, 0.5), np.zeros(7), self.width)

    def inertia(self):
        return np.ones(7)

    def aim_gripper(self, width):
        self.width = width

    def set_load(self, mass, com):
        self.reckoned = mass, com

    def place(self, objects):
        for name in objects:
            if name not in self.objects:
                raise unknown_name("object", name, self.objects)
        self.objects.update(objects)

    def truth(self):
        return dict(self.objects)

    def snapshot(self):
        return np.concatenate([self.q, self.objects["cube"][0]])
