"""Datasets of others: LeRobotDataset v3, robomimic HDF5, Minari."""
