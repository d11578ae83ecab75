"""Everything that touches a device or ROS 2: arms, cameras, nodes, cells, and the world that is a cell."""
