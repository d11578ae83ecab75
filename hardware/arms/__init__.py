"""Drives: the arms as the SDKs of their makers give them, unguarded."""
