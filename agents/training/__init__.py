"""The joint training of a sampler and an MAE: runs, callbacks, measures, and trained agents taken from runs."""
