"""Reads encoders and masked autoencoders from runs, exports and published files."""
