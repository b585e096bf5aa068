"""Agents to compare TATS with: AdaMAE, masks that are not learned, and an oracle of errors."""
