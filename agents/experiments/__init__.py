"""Experiments over agents and seeds: their cells, measures, tables and reports."""
