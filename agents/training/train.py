"""A training as a command: the run is built, trained to its end or to a signal, and its result reported."""

import logging
from pathlib import Path

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.training.pretraining import PretrainingResult
from tats_gym.agents.training.resume import begin_or_resume, resume
from tats_gym.statistics import of_clips, with_interval
from tats_gym.train.distributed import process_group

logger = logging.getLogger(__name__)


def train(config: PretrainConfig, resumed: Path | None = None, folder: Path | None = None) -> int:
    """Train, print the run's folder and its result, and return the exit code.

    Args:
        config: The run's settings.
        resumed: Folder of the run that goes on, from its newest checkpoint.
        folder: The run's own folder; a run in it goes on. None makes a new one below `config.out`.
    """
    with process_group(config.device) as ranks:
        run = resume(resumed, config, ranks) if resumed else begin_or_resume(folder, config, ranks)
        try:
            if ranks.first:
                print(f"run folder: {run.folder}\nwatch it:   tensorboard --logdir {run.folder}", flush=True)
                _log_unsupported_exports(run.config)
            result = run.run()
        finally:
            run.close()
        if ranks.first:
            print(summary(result))
    return result.exit_code


def _log_unsupported_exports(config: PretrainConfig) -> None:
    if config.mae.pos_embed != "sinusoid":
        logger.info(
            "this MAE's position embeddings are %s: it cannot be exported to transformers or the published VideoMAE, "
            "which know the sinusoid alone (--mae.pos-embed sinusoid)",
            config.mae.pos_embed,
        )


def summary(result: PretrainingResult) -> str:
    """Describe a run's result on held-out clips, and its files."""
    metrics, chance = result.metrics, result.config.grid.num_visible / result.config.grid.num_tokens
    lines = [
        f"held-out clips, one MAE (as this run left it): error {metrics.error_own:.4f} under the agent's masks, "
        f"{metrics.error_random:.4f} under random ones",
        f"gain {with_interval(metrics.gain, metrics.gain_interval, '+')}, of which "
        f"{with_interval(metrics.content_gain, metrics.content_gain_interval, '+')} because masks fit their clips "
        f"(95 % by Student's t over {of_clips(metrics.num_clips)})",
        f"masks of two clips share {metrics.overlap:.0%} of their tokens (chance {chance:.0%}); "
        f"chosen tokens move {metrics.motion_lift:.2f} times as much as all",
    ]
    if result.updates == 0:
        lines.append(
            "the agent made no update: all of this is of an untrained one (--tats.warmup-epochs: when it begins)"
        )
    lines += [f"picture:    {result.picture}", f"metrics:    {result.folder / 'metrics.jsonl'}"]
    if not result.finished:
        lines.append(f"stopped; go on with: tats-gym train --resume {result.folder}")
    return "\n".join(lines)
