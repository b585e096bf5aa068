"""Guards of settings: their types, intervals and paths, and their building from plain values."""
