"""Arms that other ROS 2 ecosystems run, on their own topics, as far as standard messages go."""
