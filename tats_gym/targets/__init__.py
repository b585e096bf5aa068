"""The targets of an MAE's hidden tokens, by name."""
