"""The trials that all experiments are made of: their settings, runs, rows, and estimates over seeds."""
