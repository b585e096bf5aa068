"""Guards of settings, and their building from plain values, with errors that name the field."""
