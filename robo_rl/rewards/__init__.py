"""Rewards that are learned: what a picture says about success."""
