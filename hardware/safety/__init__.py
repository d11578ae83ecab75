"""The safety filter, and what watches over an arm."""
