"""A long training under faults: python -m tests.soak trains for hours while files break and processes die."""
