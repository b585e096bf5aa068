"""Agents to compare TATS with: AdaMAE, Hard Patches Mining, masks that are not learned, and an oracle of errors."""
