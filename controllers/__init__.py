"""Control laws, pure functions over any array namespace (NumPy, torch), and the thin shells that keep their state."""
