"""Experiments over agents and seeds: their trials, measures, tables and reports."""
