"""Feeds damaged files to all that reads files: what comes of one must be what the reader promises, or its error."""
