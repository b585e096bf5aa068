"""The measurements of scripts/benchmark.py; not part of the installed package."""
