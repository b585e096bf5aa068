"""The sweeps of the paper's tables: their settings, plans, trials and tables."""
