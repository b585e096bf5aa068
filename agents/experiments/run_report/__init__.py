"""One HTML page about runs, their settings and results."""
