"""Trained agents of runs: loaded, exported, and asked for masks and pictures."""
