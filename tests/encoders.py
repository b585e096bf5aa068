"""Small encoders whose every weight is random, so that a dropped or misplaced one shows."""

from dataclasses import asdict
from pathlib import Path

import torch

from tats_gym.encoders.find import EncoderSource
from tats_gym.model.videomae import MAEConfig, MaskedAutoencoder
from tats_gym.pixels import IMAGENET_MEAN, IMAGENET_STD
from tats_gym.runs.checkpoint import save_checkpoint
from tats_gym.runs.folder import create_run
from tats_gym.tokens import TokenGrid

GRID = TokenGrid(frames=4, size=32, mask_ratio=0.5)
CONFIG = MAEConfig(embed_dim=128, depth=2, num_heads=2, decoder_embed_dim=12, decoder_depth=1, decoder_num_heads=2)


def random_mae(config=CONFIG, grid=GRID):
    torch.manual_seed(0)
    mae = MaskedAutoencoder(config, grid).eval()
    for parameter in mae.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return mae


def write_run(folder: Path, mae) -> Path:
    """Write the folder of a run that ended with these weights."""
    config = {
        "agent": "tats",
        "seed": 3,
        "clips": {"data": "ssv2"},
        "grid": asdict(mae.grid),
        "mae_optim": {"epochs": 7},
    }
    run = create_run(folder, "run", config)
    state = {"config": config, "step": 50, "mae": mae.state_dict(), "mae_config": asdict(mae.config)}
    save_checkpoint(run / "checkpoints", 50, state, keep=2)
    return run


def random_source(folder: Path, config=CONFIG, grid=GRID) -> EncoderSource:
    return EncoderSource.find(write_run(folder, random_mae(config, grid)))


def clips_for(grid=GRID, count=2):
    return torch.randint(256, (count, *grid.clip_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def normalised(clips):
    """Return clips (B, C, T, H, W) as other libraries take them, normalised by hand."""
    mean, std = (torch.tensor(x).view(3, 1, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    return (clips / 255 - mean) / std


@torch.no_grad()
def features(source, norm="encoder", grid=GRID):
    return source.build(norm=norm).eval()(clips_for(grid))
