"""Preparation of videos before a training: verifying a dataset and cutting long videos."""
