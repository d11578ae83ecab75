"""Replay memory: transitions, demonstrations, hindsight."""
