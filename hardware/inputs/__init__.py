"""Input devices: emergency stops."""
