"""What scripts/benchmark.py measures; no part of what is installed."""
