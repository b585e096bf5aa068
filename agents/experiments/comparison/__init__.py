"""Comparisons of agents over seeds: their runs, measures and reports."""
