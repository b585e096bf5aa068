"""Checks of the parts that other packages plug in: each raises AssertionError with the rule that does not hold.

from tats_gym.contracts import check_agent, check_dataset, check_mae, check_reward, check_target
"""

import copy
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import gymnasium
import numpy as np
import torch
from torch import nn

from tats_gym.agents.config import PRESETS, PretrainConfig
from tats_gym.agents.trained.load_run import SavedRun, TrainedAgent
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.agents.training.resume import resume
from tats_gym.clips import ClipConfig, ClipStream, MissingDataError, VideoReadError, list_videos, open_video
from tats_gym.datasets import DATASETS
from tats_gym.envs.rewards import find_reward
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.masks import random_ids
from tats_gym.messages import listed
from tats_gym.model.optim import parameter_groups
from tats_gym.model.protocol import MaskedModel
from tats_gym.model.target import PIXELS, Distance, Pixels
from tats_gym.model.videomae import MAE_PRESETS, MaskedAutoencoder
from tats_gym.registration import data_of, env_ids, import_env
from tats_gym.runs.checkpoint import latest_checkpoint
from tats_gym.targets.table import build_target
from tats_gym.tokens import TokenGrid

if not __debug__:
    raise ImportError("tats_gym.contracts checks by assert statements, which python -O leaves out: run without -O")

GRID = TokenGrid(frames=4, size=32, patch_size=16, tubelet_size=2, visible=3)
"""Geometry of the clips in these checks: 2 x 2 x 2 tokens."""
AGENT_GRID = TokenGrid(frames=4, size=64, patch_size=16, tubelet_size=2, visible=16)
"""Geometry in the check of an agent: 2 x 4 x 4 tokens, of which masks of whole tubelets can show as many too."""


def check_reward(name: str) -> None:
    """Check a reward: one finite number a clip, the same for the same errors, which it leaves as they are.

    Args:
        name: The reward's name or `module:object`.
    """
    reward = find_reward(name)
    errors, random_errors = (torch.rand(6, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    before = errors.clone(), random_errors.clone()
    first, second = (reward(errors, random_errors) for _ in range(2))
    assert isinstance(first, torch.Tensor), f"{name} must return a tensor, got {type(first).__name__}"
    assert first.shape == (6,), f"{name} must return one number a clip, (B,), got the shape {tuple(first.shape)}"
    assert first.isfinite().all(), f"{name} must be finite, got {first.tolist()}"
    assert torch.equal(first, second), f"{name} must return the same for the same errors"
    same = torch.equal(errors, before[0]) and torch.equal(random_errors, before[1])
    assert same, f"{name} must not change the errors that it is given"
    alone = torch.cat([reward(errors[b : b + 1], random_errors[b : b + 1]) for b in range(6)])
    assert torch.allclose(first, alone, atol=1e-6), f"{name} must not depend on the other clips of the batch"


def check_dataset(env_id: str, root: str | Path | None = None) -> None:
    """Check a dataset: its parts, its ids, its readers and the clips that are cut from it.

    Args:
        env_id: Its id, after `module:` where a module registers it.
        root: A folder with a few of its videos; None for the dataset's own.
    """
    import_env(env_id)
    bare = env_id.rpartition(":")[2]
    assert bare in env_ids(), f"{bare} must be registered, known are {env_ids()}"
    data = data_of(env_id)
    names: dict[str, set[str]] = {}
    for split in DATASETS[data].splits:
        try:
            videos = list_videos(data, root, split)
        except MissingDataError:
            assert split == "test", f"{data} {split} must be below {root}"  # some owners do not distribute it
            continue
        assert len(videos), f"{data} {split} must list a video below {root}"
        names[split] = {video.name for video in videos.videos}
        assert len(names[split]) == len(videos), f"the names of {data} {split} must differ"
        labels = {video.label for video in videos.videos}
        known = {*range(len(videos.classes)), *([] if DATASETS[data].labelled else [None])}
        assert labels <= known or split == "test", f"labels of {data} {split} must be in {known}, got {labels}"
        for video in videos.videos[:3]:
            _check_frames(data, video.path)
    if len(names.get("train", ())) > 1 and "validation" in names:
        shared = names["train"] & names["validation"]
        assert not shared, f"{data}: training and validation share {sorted(shared)[:3]}"
    config = ClipConfig(data=data, root=None if root is None else str(root), stride=1)
    for workers in (0, 1):  # readers must work in another process too
        stream = ClipStream(ClipConfig(**{**vars(config), "num_workers": workers}), frames=4, size=32, seed=0)
        with closing(stream):
            clips = stream.take(2).pixels
        assert clips.shape == (2, 3, 4, 32, 32), f"clips must be (B, C, T, H, W), got {tuple(clips.shape)}"
    place: dict[str, Any] = {} if root is None else {"root": str(root)}
    env = gymnasium.make_vec(bare, num_envs=1, device="cpu", **place)
    env.reset(seed=0)
    env.close()


def _check_frames(data: str, path: Path) -> None:
    """Check the frames that a dataset's reader returns."""
    with closing(open_video(path, DATASETS[data].video_reader or "auto")) as video:
        assert len(video) >= 1, f"{path} must have a frame"
        assert video.fps >= 0, f"fps of {path} must not be negative, got {video.fps}"
        last = len(video) - 1
        frames = video.get_batch([last, 0, last])
        assert frames.dtype == np.uint8, f"frames of {path} must be uint8, got {frames.dtype}"
        assert frames.ndim == 4, f"frames of {path} must be (T, H, W, 3), got {frames.shape}"
        assert frames.shape[::3] == (3, 3), f"frames of {path} must be (T, H, W, 3), got {frames.shape}"
        assert np.array_equal(frames[0], frames[2]), f"a frame of {path} must be the same each time"
        assert np.array_equal(frames[1], video.get_batch([0])[0]), f"a frame of {path} must be the same alone"
        try:
            video.get_batch([len(video)])
        except VideoReadError:
            return
    raise AssertionError(f"{path} has {last + 1} frames: asked for the next one, its reader must raise VideoReadError")


def check_mae(build: Callable[[TokenGrid], nn.Module]) -> None:
    """Check an MAE: embeddings, errors and gradients, and that an environment steps with it.

    Args:
        build: Makes the model for a geometry.
    """
    mae = build(GRID)
    assert isinstance(mae, MaskedModel), "the model must implement tats_gym.model.protocol.MaskedModel"
    clips = torch.randint(256, (2, *GRID.clip_shape), dtype=torch.uint8)
    ids = random_ids(2, GRID.num_tokens, GRID.num_visible)
    tokens = mae.embed(clips)
    expected = (2, GRID.num_tokens, mae.embed_dim)
    assert tokens.shape == expected, f"embed must return (B, L, D), {expected}, got {tuple(tokens.shape)}"
    assert not tokens.requires_grad, "embed must return tokens without a graph"
    reconstruction = mae(clips, ids, 1.0)
    assert reconstruction.errors.shape == (2, GRID.num_hidden), (
        f"errors must be (B, M), got {tuple(reconstruction.errors.shape)}"
    )
    assert (reconstruction.errors >= 0).all(), "errors must not be negative"
    hidden = torch.ones(2, GRID.num_tokens, dtype=torch.bool).scatter(1, ids, False)
    assert torch.equal(reconstruction.predicted, hidden), "predicted must be True at the hidden tokens alone"
    reconstruction.errors.mean().backward()
    assert any(p.grad is not None for p in mae.parameters()), "the mean error must have a gradient"
    grouped = [id(weights) for group in parameter_groups(mae, 0.05) for weights in group["params"]]
    trained = [id(weights) for weights in mae.parameters() if weights.requires_grad]
    assert sorted(set(grouped) | set(trained)) == sorted(grouped), "parameter_groups must hold each trained weight once"
    mae.eval()
    for g, part in enumerate(mae(clips, ids[[0, 1, 1, 0]], 1.0).errors.split(2)):  # two masks of each clip
        alone = mae(clips[[g, g]], ids[[0, 1]] if g == 0 else ids[[1, 0]], 1.0).errors
        assert torch.allclose(part, alone, atol=1e-5), "errors of G masks of a clip must be those of each mask alone"
    again = copy.deepcopy(mae)
    again.load_state_dict(mae.state_dict())
    assert torch.equal(again.eval()(clips, ids, 1.0).errors, mae.eval()(clips, ids, 1.0).errors), (
        "a copy with the same weights must make the same errors"
    )
    env = TokenSelectionVectorEnv(2, data="demo", **asdict(GRID), device="cpu")
    with closing(env):
        env.attach(mae)
        env.reset(seed=0)
        env.step(env.action_space.sample())


def check_target(name: str) -> None:
    """Check a target: finite values for each hidden token, of its clip alone, which an MAE can be trained on.

    Args:
        name: The target's name, as `--target` takes it.
    """
    sizes = MAE_PRESETS["tiny"]
    target = build_target(name, GRID, sizes)
    assert not list(target.parameters()), f"{name} must keep its tensors as buffers, which no optimiser trains"
    painted = target.name == PIXELS and not isinstance(target, Pixels)
    assert not painted, f"{name} must have another name than {PIXELS!r}, which pictures paint as ours"
    assert target.distance in get_args(Distance), f"distance of {name} must be one of {get_args(Distance)}"
    patches = GRID.cut(torch.randint(256, (2, *GRID.clip_shape), dtype=torch.uint8))
    ids, kept = random_ids(4, GRID.num_tokens, GRID.num_hidden), patches.clone()  # two masks of each clip
    with torch.no_grad():
        first, second, reversed_ids = (target(patches, each) for each in (ids, ids, ids.flip(1)))
        alone = torch.cat([target(patches[b : b + 1], ids[2 * b : 2 * b + 2]) for b in range(2)])
    expected = (4, GRID.num_hidden, target.width)
    assert first.shape == expected, f"{name} must return (B * G, M, width), {expected}, got {tuple(first.shape)}"
    assert first.dtype == torch.float32, f"{name} must return float32, got {first.dtype}"
    assert first.isfinite().all(), f"{name} must be finite"
    assert torch.equal(first, second), f"{name} must return the same for the same clips"
    assert torch.equal(patches, kept), f"{name} must not change the clips that it is given"
    assert torch.equal(first, reversed_ids.flip(1)), f"{name} must return its values in the order of the ids"
    assert torch.allclose(first, alone, atol=1e-5), f"{name} must not depend on the other clips of the batch"
    check_mae(lambda grid: MaskedAutoencoder(sizes, grid, build_target(name, grid, sizes)))


def check_agent(name: str, **settings: Any) -> None:
    """Check an agent: it trains in a run on the demo's clips, masks legally, is saved, loaded and resumed exactly.

    Args:
        name: The agent's name or `module:function`.
        settings: Settings of its own that are not its defaults.

    Raises:
        ValueError: If there is no such agent, or it refuses the settings or the run.
        TypeError: If it is no SB3 algorithm.
    """
    with tempfile.TemporaryDirectory() as out:
        whole = _trained(Pretraining(_tiny_run(name, settings, out)))
        masks = _masks_of(whole)
        shape = (4, AGENT_GRID.num_visible)
        assert masks.shape == shape, f"masks of {name} must be K tokens, (B, K) = {shape}, got {tuple(masks.shape)}"
        tokens = set(range(AGENT_GRID.num_tokens))
        legal = all(len(tokens & set(row)) == len(row) for row in masks.tolist())
        assert legal, f"masks of {name} must be distinct tokens below {len(tokens)}, got {masks[0].tolist()}"
        loaded = SavedRun.read(whole.folder).agent(whole.config.clips, device="cpu")
        same = torch.equal(loaded.mask(_clips())[0], masks)
        assert same, f"{name} must mask alike when it is loaded from a checkpoint"
        twin = _trained(Pretraining(whole.config))
        _check_same(whole, twin, f"{name} must draw weights and masks from config.seed: equal seeds, equal agents")
        latest_checkpoint(twin.folder).unlink()
        resumed = _trained(resume(twin.folder))
        rule = f"{name} must hold its whole state in its SB3 parameters: a resumed run ends as one that was not stopped"
        _check_same(whole, resumed, rule)


def _trained(run: Pretraining) -> Pretraining:
    assert not run.finished, "a run must begin at its start, or at the checkpoint half way"
    with closing(run):
        run.run()
    return run


def _masks_of(run: Pretraining) -> torch.Tensor:
    """Return the agent's masks (4, K) of the same clips under the same seed."""
    return TrainedAgent(run.config, run.agent.policy, run.mae, name=run.config.agent).mask(_clips())[0]


def _clips() -> torch.Tensor:
    pixels = torch.randint(256, (4, *AGENT_GRID.clip_shape), generator=torch.Generator().manual_seed(0))
    return pixels.to(torch.uint8)


def _check_same(one: Pretraining, two: Pretraining, rule: str) -> None:
    pairs = zip(one.agent.policy.state_dict().items(), two.agent.policy.state_dict().values(), strict=True)
    differ = [name for (name, ours), theirs in pairs if not torch.equal(ours, theirs)]
    assert not differ, f"{rule}; these weights differ: {listed(differ)}"
    assert torch.equal(_masks_of(one), _masks_of(two)), f"{rule}; their masks differ"


def _tiny_run(name: str, settings: Mapping[str, Any], out: str) -> PretrainConfig:
    """Return a run of two epochs of two rollouts."""
    preset = PRESETS["demo"]
    return replace(
        preset,
        agent=name,
        agent_settings=dict(settings),
        num_envs=8,
        epoch_masks=32,
        eval_clips=2,
        eval_masks=1,
        init_mae=None,
        mae=replace(preset.mae, depth=1, decoder_depth=1),
        mae_optim=replace(preset.mae_optim, epochs=2, warmup_epochs=0),
        off_policy=replace(preset.off_policy, learning_starts=0, buffer_size=16, batch_size=4),
        clips=replace(preset.clips, num_workers=0),
        grid=AGENT_GRID,
        out=out,
        device="cpu",
        quiet=True,
    )
