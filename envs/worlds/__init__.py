"""Worlds that are simulators."""
