"""Makes the masks that a trained agent gives the clips of a dataset, as a set to share."""

from collections.abc import Iterator

import torch
from torch import Tensor

from tats_gym.agents.trained.load_run import SavedRun, TrainedAgent
from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.hub.mask_set import MaskSet
from tats_gym.train.precision import AUTO

BATCH = 16
"""Clips decoded at once."""


def mask_set(run: SavedRun, clips: ClipConfig, *, seed: int = 0, device: str = AUTO) -> MaskSet:
    """Mask the centre view of each video of a dataset's part, with the agent and the MAE of a run.

    Args:
        run: The run.
        clips: The part, and the window: the middle one of its `stride` or `sampling`, in the largest square of the
            frame.
        seed: Seed of the draw for each clip.
        device: Device of agent and MAE.

    Raises:
        VideoReadError: If more videos are unreadable than `clips.max_broken` allows; the others are left out.
    """
    agent = run.agent(clips, device=device)
    grid = agent.config.grid
    stream = ClipStream(clips, frames=grid.frames, size=grid.size, seed=0)
    try:
        masked = list(_masked(agent, stream, seed))
        names = [stream.videos.videos[id_].name for ids, _ in masked for id_ in ids]
    finally:
        stream.close()
    origin = {
        "data": clips.data,
        "split": clips.split,
        "stride": clips.stride,
        "sampling": clips.sampling,
        "pixel_aspect": clips.pixel_aspect,
        "seed": seed,
    }
    record = {"agent": run.config.agent, "masks_seen": run.state.get("step"), "view": "centre"}
    return MaskSet(names, torch.cat([ids_keep for _, ids_keep in masked]), grid, {**origin, **record})


def _masked(agent: TrainedAgent, stream: ClipStream, seed: int) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the ids of some videos, and the visible tokens of their clips."""
    for batch in stream.each(range(len(stream.videos)), BATCH):
        if len(batch.ids):
            yield batch.ids.tolist(), agent.mask(batch.pixels, seed=seed)[0]
