"""Reads checkpoints of fine-tunings that counted a batch in clips, not in videos."""

from typing import Any

from tats_gym.finetune.config import FinetuneConfig
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.train.distributed import Ranks


def counted_in_videos(state: dict[str, Any], config: FinetuneConfig, ranks: Ranks) -> dict[str, Any]:
    """Return a checkpoint's state with the counts of newer ones.

    Raises:
        CheckpointError: If the settings are still those in clips; the message names the same ones in videos.
    """
    if "step_clips" in state:
        return state
    clips, repeats, optim = state["batch_size"], config.clips.repeats, config.optim
    if repeats > 1 and clips != config.step_clips * ranks.world_size:
        videos, rest = divmod(clips, repeats * ranks.world_size)
        way_out = (
            f"{clips} clips of a step are no whole number of videos in each of {ranks.world_size} processes: start anew"
            if rest
            else f"the same training goes on with --batch-size {videos} --optim.base-lr {optim.base_lr * repeats:g} "
            f"--optim.min-lr {optim.min_lr * repeats:g}, which are then the run's own"
        )
        raise CheckpointError(
            f"this run began when batch_size counted clips, {repeats} of each video; now it counts videos: {way_out}"
        )
    scaled_by = {"step_clips": state["optim"]["step_clips"] // repeats}
    return {**state, "step_clips": clips, "optim": {**state["optim"], **scaled_by}}
