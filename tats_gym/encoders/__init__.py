"""Encoders and autoencoders on disk: where they are found, and the layouts that they are published in."""
