"""Targets: what an MAE's hidden tokens are predicted against, by name."""
