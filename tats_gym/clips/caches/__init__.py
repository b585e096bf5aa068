"""Caches of decoded videos: in memory for small datasets, on disk for windows."""
