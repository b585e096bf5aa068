"""Measures of a sampler and an encoder while they are trained: errors under masks, statistics of masks, probes."""
