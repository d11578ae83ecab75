"""Calibrations of a cell, each with its residual."""
