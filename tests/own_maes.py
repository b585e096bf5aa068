"""MAEs as another package would write them."""

import torch
from torch import nn

from tats_gym.masks import hidden_ids, mask_from_ids
from tats_gym.model.videomae import Reconstruction


class Means(nn.Module):
    """Predicts the mean of each hidden token from those of the visible ones."""

    embed_dim = 8

    def __init__(self, grid):
        super().__init__()
        self.grid = grid
        self.read, self.write = nn.Linear(1, 8), nn.Linear(8, 1)
        self.calls = []

    def means(self, clips):
        return self.grid.cut(clips).float().mean(-1, keepdim=True) / 255  # (B, L, 1)

    @torch.no_grad()
    def embed(self, clips):
        return self.read(self.means(clips))

    def forward(self, clips, ids_keep, decode_ratio=1.0):
        if torch.is_grad_enabled():
            self.calls.append((clips.clone(), ids_keep.clone()))
        means = self.means(clips).repeat_interleave(len(ids_keep) // len(clips), 0)
        mask = mask_from_ids(ids_keep, self.grid.num_tokens)
        hidden = hidden_ids(mask, self.grid.num_tokens - ids_keep.shape[1])
        seen = self.hide(self.read(means.gather(1, ids_keep[..., None]))).mean(1, keepdim=True)
        target = means.gather(1, hidden[..., None])
        return Reconstruction(self.write(seen).expand_as(target), target, hidden, mask)

    def hide(self, values):
        return values

    def parameter_groups(self, weight_decay):
        read = {"params": list(self.read.parameters()), "weight_decay": weight_decay, "lr_scale": 0.5}
        return [read, {"params": list(self.write.parameters()), "weight_decay": 0.0}]


class Dropping(Means):
    """Draws while it trains, and counts in a buffer; part of it never trains."""

    def __init__(self, grid):
        super().__init__(grid)
        self.dropout, self.frozen = nn.Dropout(0.5), nn.Dropout(0.5)
        self.frozen.eval()
        self.register_buffer("steps", torch.zeros(()))

    def hide(self, values):
        if torch.is_grad_enabled():
            self.steps += 1
        return self.frozen(self.dropout(values))


class Told(Means):
    """Keeps the progress that it is told, and logs a number."""

    def __init__(self, grid):
        super().__init__(grid)
        self.told = []

    def after_step(self, progress):
        self.told.append((progress, self.read.weight.detach().clone()))

    def statistics(self):
        return {"told": len(self.told)}


def no_weights(grid):
    class Nothing(Means):
        def parameters(self, recurse=True):
            return iter(())

    return Nothing(grid)


def no_model(grid):
    return nn.Linear(1, 1)
