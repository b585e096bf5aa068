"""Supervised fine-tuning of an encoder."""
