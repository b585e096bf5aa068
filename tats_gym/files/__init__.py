"""Reads and writes files: atomic writes, text and JSON of other origin, and the suffixes of videos and images."""
