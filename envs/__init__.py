"""Tasks and simulated worlds. Importing it registers the Gymnasium ids ``robo_rl/...``."""

from envs.gymnasium_adapters import register_ids

register_ids()
