"""Datasets as they lie on a disk: their layouts, and the lists of their videos."""
