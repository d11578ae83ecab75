"""Learners, ours and others', each in a process of its own, timed on request. See :mod:`benchmarks.learner`."""
