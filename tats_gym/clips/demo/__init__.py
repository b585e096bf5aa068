"""The demo dataset: procedural videos, rendered and encoded locally."""
