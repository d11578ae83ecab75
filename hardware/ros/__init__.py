"""Nodes, clients and messages of ROS 2. Nothing of ROS leaves this folder."""
