"""Settings of runs that take seconds, and commands in this process: importing torch again and again takes minutes."""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from tats_gym.agents.config import OffPolicyConfig, PretrainConfig, TatsConfig, preset_for
from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.training.pretraining import Pretraining, PretrainingResult
from tats_gym.agents.training.resume import resume
from tats_gym.model.optim import MAEOptimConfig
from tats_gym.model.videomae import MAEConfig
from tats_gym.runs.checkpoint import latest_checkpoint, load_checkpoint
from tats_gym.tokens import TokenGrid


def load_command(name: str) -> ModuleType:
    """Import the module of a command of `tats-gym`."""
    return import_module(f"tats_gym.commands.{name.replace('-', '_')}")


def words_of(command: Callable[[list[str]], int], words: list[str], capsys: Any, *, codes: Collection[int]) -> str:
    """Run a command that ends with one of these exit codes; return its words on one line, without frames."""
    code: Any
    try:
        code = command(words)
    except SystemExit as ended:
        code = ended.code
    shown = capsys.readouterr()
    assert code in codes
    return re.sub(r"[│╭╮╰╯─\s]+", " ", shown.err + shown.out)


def train(config: PretrainConfig) -> tuple[Pretraining, PretrainingResult]:
    """Train to the end, or to a signal."""
    run = Pretraining(config)
    result = run.run()
    run.close()
    return run, result


def states_of_a_resume(config: PretrainConfig) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Train to the end, then again from the checkpoint before; return the run's folder, and the state at both ends."""
    _, whole = train(config)
    expected = load_checkpoint(whole.folder)
    latest_checkpoint(whole.folder).unlink()
    again = resume(whole.folder)
    assert not again.finished
    again.run()
    again.close()
    return whole.folder, expected, load_checkpoint(whole.folder)


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
        epoch_masks=8,
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
