"""File input and output: atomic writes, text and JSON, settings as plain values, error messages."""
