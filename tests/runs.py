"""Settings of runs that take seconds."""

from dataclasses import replace

from agents.config import PretrainConfig, TatsConfig, preset_for
from agents.policy import SamplerConfig
from tats_gym.mae import MAEConfig
from tats_gym.mae_training import MAEOptimConfig
from tats_gym.tokens import TokenGrid


def tiny_config(root, out, **changes) -> PretrainConfig:
    """Four epochs of eight clips of 2 x 2 x 2 tokens, the first with uniform masks."""
    preset = preset_for("TatsMask-folder-v0")
    config = replace(
        preset,
        num_envs=4,
        reward="neg_error",
        out=str(out),
        device="cpu",
        quiet=True,
        epoch_clips=8,
        eval_interval=16,
        eval_clips=2,
        eval_masks=1,
        log_interval=1,
        clips=replace(preset.clips, root=str(root), stride=1, num_workers=0),
        grid=TokenGrid(frames=4, size=32, visible=3),
        mae=MAEConfig(embed_dim=64, depth=1, num_heads=1, decoder_embed_dim=32, decoder_depth=1, decoder_num_heads=1),
        mae_optim=MAEOptimConfig(epochs=4, warmup_epochs=1, base_lr=1e-2),
        sampler=SamplerConfig(critic="shared"),
        tats=TatsConfig(learning_rate=1e-3, warmup_epochs=1),
    )
    return replace(config, **changes)
