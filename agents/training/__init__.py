"""The joint training of a sampler and an MAE: runs, callbacks, evaluation, and the loading of trained agents."""
