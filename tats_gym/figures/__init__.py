"""Figures and animations of masks, and figures as pixels."""
