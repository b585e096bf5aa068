"""Settings of runs that take seconds, and scripts in this process: importing torch again and again takes minutes."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from tats_gym.agents.config import OffPolicyConfig, PretrainConfig, TatsConfig, preset_for
from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.training.pretraining import Pretraining, PretrainingResult
from tats_gym.model.training import MAEOptimConfig
from tats_gym.model.videomae import MAEConfig
from tats_gym.tokens import TokenGrid


def load_script(name: str) -> ModuleType:
    """Import a script of this checkout; the path is left as it was."""
    before = sys.path.copy()
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent.parent / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # tyro looks there for the docstrings of a dataclass
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def train(config: PretrainConfig) -> tuple[Pretraining, PretrainingResult]:
    """Train to the end, or to a signal."""
    run = Pretraining(config)
    result = run.run()
    run.close()
    return run, result


def rows(folder: Path) -> list[dict[str, float]]:
    """The lines of a run's metrics, one that is cut off an error."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def tiny_config(root, out, **changes) -> PretrainConfig:
    """Four epochs of eight clips of 2 x 2 x 2 tokens, the first with uniform masks."""
    preset = preset_for("TatsMask-folder-v0")
    config = replace(
        preset,
        agent="tats",
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
        off_policy=OffPolicyConfig(learning_rate=1e-3, learning_starts=0, buffer_size=10, batch_size=4),
    )
    return replace(config, **changes)
