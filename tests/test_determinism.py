"""The same seed on the same machine is the same run, to the bit, by any decoder; another seed is another run."""

import json
import random
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
import torch

from tats_gym.agents import AGENTS
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.masks import random_ids
from tats_gym.model.videomae import MAEConfig, MaskedAutoencoder
from tats_gym.tokens import TokenGrid
from tests.runs import tiny_config

pytestmark = pytest.mark.long


def _tensors(value, name=""):
    """Name all tensors and numbers in a run's state, without its settings."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key != "config":
                yield from _tensors(each, f"{name}/{key}")
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _tensors(each, f"{name}/{number}")
    else:
        yield name, value.tolist() if isinstance(value, torch.Tensor) else value


def _trace(root, out, agent, *, workers=0, seed=0):
    """Train; return all weights, moments and random states, all metrics but times, and all pictures' pixels."""
    random.seed(), np.random.seed(), torch.seed()  # noqa: NPY002 (a run must not depend on earlier draws)
    config = tiny_config(root, out, agent=agent, seed=seed, grid=TokenGrid(frames=4, size=32, visible=4))
    config = replace(config, mae_optim=replace(config.mae_optim, epochs=2), eval_interval=10_000, eval_masks=2)
    config = replace(config, clips=replace(config.clips, num_workers=workers, flip=True))
    run = Pretraining(config)
    run.run()
    run.close()
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    metrics = [{name: value for name, value in row.items() if not name.startswith("time/")} for row in rows]
    pictures = {path.name: matplotlib.image.imread(path).tobytes() for path in run.folder.glob("pictures/*.png")}
    return {name: repr(value) for name, value in _tensors(run.state())}, json.dumps(metrics), pictures


IN_WORKERS = ("tats", "ppo", "sac", "motion")
"""One of each kind: on the device, over NumPy, decoding clips again to learn from, and looking at pixels."""


@pytest.mark.parametrize("agent", AGENTS)
def test_equal_seeds_are_equal_runs(clips_root, tmp_path, agent):
    state, metrics, pictures = _trace(clips_root, tmp_path, agent)
    assert len(state) > 50
    assert "held_out/gain" in metrics
    assert len(pictures) == 4
    again, metrics_again, pictures_again = _trace(clips_root, tmp_path, agent, workers=2 * (agent in IN_WORKERS))
    assert [name for name in state if state[name] != again[name]] == []
    assert metrics_again == metrics
    assert pictures_again == pictures


def test_another_seed_is_another_run(clips_root, tmp_path):
    (state, metrics, pictures), (other, *others) = (_trace(clips_root, tmp_path, "tats", seed=seed) for seed in (0, 1))
    weights = [name for name in state if name.startswith("/mae/") and name.endswith("weight")]
    assert weights
    assert all(state[name] != other[name] for name in weights if "norm" not in name)
    assert metrics != others[0]
    assert pictures != others[1]


def test_gradients_of_learned_positions_are_the_same_on_several_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        config = MAEConfig(
            embed_dim=64, depth=1, num_heads=1, decoder_embed_dim=64, decoder_depth=1, decoder_num_heads=1,
            pos_embed="learned",
        )  # fmt: skip
        grid = TokenGrid(frames=16, size=64, tubelet_size=2, patch_size=8, visible=51)  # 512 tokens
        mae = MaskedAutoencoder(config, grid)
        clips = torch.randint(256, (16, *grid.clip_shape), dtype=torch.uint8)
        ids = random_ids(16, grid.num_tokens, grid.num_visible)

        def gradients():
            mae.zero_grad()
            mae(clips, ids).errors.mean().backward()
            return [weights.grad.clone() for weights in mae.parameters()]

        first = gradients()
        for _ in range(6):
            assert all(torch.equal(*pair) for pair in zip(first, gradients(), strict=True))
    finally:
        torch.set_num_threads(threads)
