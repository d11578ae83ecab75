"""Recordings and demonstrations on disk."""
