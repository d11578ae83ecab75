"""Devices that a person moves arms with. Each is a :class:`robo_rl.contracts.InputDevice`."""
