"""Runs: the folder of each, its record, lock, checkpoints, metrics and progress."""
