"""Tasks, the environment loop, and the worlds that are simulators."""
