"""Figures and animations of masks."""
