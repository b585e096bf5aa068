"""The measurements of `python -m benchmarks`, from the root of a checkout; not part of the installed package."""
