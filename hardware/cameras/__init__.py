"""Cameras, each usable without ROS."""
