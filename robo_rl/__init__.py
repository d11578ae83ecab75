"""Sample-efficient reinforcement learning for robot arms, in simulation and on the robot."""

__version__ = "0.1.0"
