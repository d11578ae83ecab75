"""Control laws over any array namespace: no input or output, no torch import."""
