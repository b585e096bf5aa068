"""The demo data set: procedural videos, drawn and encoded on the spot."""
