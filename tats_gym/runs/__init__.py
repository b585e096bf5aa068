"""A run's folder: its record, lock, checkpoints and metrics, and runs side by side."""
