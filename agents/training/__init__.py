"""The joint training of a sampler and an MAE: runs, callbacks and evaluation."""
