"""What every training here shares: optimiser, precision, processes, signals, and numbers that are not finite."""
