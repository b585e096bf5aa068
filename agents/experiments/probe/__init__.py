"""Probes of encoders before, during and after pre-training, and their reports."""
