"""Preparing videos before a training: checking them, and cutting long ones."""
