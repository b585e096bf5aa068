"""The vector environment: holds clips, takes K visible tokens of each, returns the MAE's errors and the reward."""

from typing import Any

import numpy as np
import torch
from gymnasium import error, spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from torch import Tensor, nn

from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.envs import checks
from tats_gym.envs.clip_buffer import ClipBuffer
from tats_gym.envs.outcome import Outcome
from tats_gym.envs.rewards import find_reward
from tats_gym.envs.settings import EnvConfig, split_settings
from tats_gym.envs.spaces import ScoreBox, Subset, TokenBox
from tats_gym.envs.visible_count import VisibleCount
from tats_gym.masks import random_ids
from tats_gym.model.protocol import MaskedModel, is_own, own_model
from tats_gym.model.videomae import Reconstruction, unmasked
from tats_gym.tokens import TokenGrid
from tats_gym.train.precision import autocast, resolve_device
from tats_gym.train.random_state import rank_seed


class TokenSelectionVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """Choose which K of a clip's L tokens a video masked autoencoder may see.

    ## Description
    Each of the B environments holds one clip; with `masks_per_clip` G, each G consecutive ones share a clip, so that
    several of its masks can be compared. The agent observes the clip's tokens, chooses K of them, and is rewarded by
    the MAE's errors on the rest. One MAE forward serves all B masks. The environment never changes the MAE: a
    trainer attaches its own with `attach`, sets `keep_graph`, and steps it on `loss` between environment steps.

    ## Action Space
    `action="ids"`: `Subset`, K distinct token indices, numbered frame by frame, row by row. `action="scores"`:
    `ScoreBox`, a Box(-5, 5, (L,)) for continuous agents, whose K highest scores become visible. With `visible_spread`
    K varies: `infos["num_visible"]` holds that of the next step, which shows the first K tokens of an action.

    ## Observation Space
    `TokenBox` (L, D): all tokens under the MAE's current patch embedding, with positions.

    ## Rewards
    `neg_error` (default): minus the mean error of the hidden tokens. `error`: that mean. `gain`: the error under a
    uniform random mask of the same clip minus the error under the agent's, by the same MAE (one more forward).

    ## Starting State
    The next clips of a shuffled, endless stream, seeded by `reset(seed=)`; or, by `reset(options={"clips": ids})`,
    the named clips in their centre view.

    ## Episode End
    One step is one episode: `terminations` are True, `truncations` False, unless `max_episode_steps` is 1. Under
    SAME_STEP the observation is of the next clip; `infos["final_info"]` holds the finished episode's `errors` (B, L),
    `clips` and `positions`. There is no `final_obs`: it would copy megabytes a clip that the agent has just observed.
    Under NEXT_STEP every second step only returns the next clips: it ignores its actions and rewards with 0.

    ## Arguments
    Every field of `ClipConfig`, `TokenGrid` and `EnvConfig`, as keywords of `gymnasium.make_vec`; and
    `max_episode_steps`, which no episode of one step exceeds.

    ## Version History
    v0: first version.
    """

    stream_kind = ClipStream
    """The source of the clips."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int | None = None, **settings: Any) -> None:
        self.num_envs = checks.check_num_envs(num_envs)
        self._truncated = checks.check_episode_limit(max_episode_steps) == 1
        parts = split_settings(settings, (ClipConfig, TokenGrid, EnvConfig))
        self.clip_config = ClipConfig(**parts[ClipConfig])
        self.grid = TokenGrid(**parts[TokenGrid])
        self.config = EnvConfig(**parts[EnvConfig])
        self._reward = find_reward(self.config.reward)
        self.device = resolve_device(self.config.device)
        self.render_mode = self.config.render_mode
        self.autoreset_mode = AutoresetMode[self.config.autoreset_mode.upper()]
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 1, "autoreset_mode": self.autoreset_mode}

        own, seed = is_own(self.config.mae), self.config.mae_seed
        self._mae = own_model(self.config.mae, self.grid, seed=seed) if own else None
        self._mae_source = None if own else MAESource.find(self.config.mae)
        self._with_gradients: nn.Module | None = None
        shard, pinned = self.config.shard, self.device.type == "cuda"
        stream = self.stream_kind(
            self.clip_config, frames=self.grid.frames, size=self.grid.size, seed=0, shard=shard, pin_memory=pinned
        )
        visible = VisibleCount(self.grid, self.config.visible_spread)
        self.clip_buffer = ClipBuffer(stream, num_envs, self.config.masks_per_clip, visible, self.device)
        """The clips to be masked next."""
        if self._mae_source:
            self._set_spaces(self._mae_source.config.embed_dim)
        elif self._mae:
            self.attach(self._mae)
        self.keep_graph = False
        self.loss: Tensor | None = None
        """Mean error of the last step, with its graph if `keep_graph` is set."""
        self.last_rewards = torch.zeros(num_envs)
        self._done = np.ones(num_envs, dtype=np.bool_)
        self._drawn: tuple[Tensor, Reconstruction] | None = None

    def _set_spaces(self, embed_dim: int) -> None:
        sizes = self.grid.num_tokens, self.clip_buffer.visible.largest
        self._subset = Subset(*sizes)
        space: type[Subset | ScoreBox] = Subset if self.config.action == "ids" else ScoreBox
        self.single_action_space: spaces.Space[Any] = space(*sizes)
        self.action_space: spaces.Space[Any] = space(*sizes, batch=(self.num_envs,))
        self.single_observation_space = TokenBox((self.grid.num_tokens, embed_dim), self.grid.shape)
        self.observation_space = self.single_observation_space.batched(self.num_envs)

    # --- The MAE -----------------------------------------------------------------------------------------------------

    @property
    def mae(self) -> MaskedModel:
        """The attached MAE; without one, a fixed MAE built from the settings `mae` and `mae_seed`."""
        if self._mae is None:
            assert self._mae_source is not None
            self.attach(build_mae(self._mae_source, self.grid, seed=self.config.mae_seed))
        assert self._mae is not None
        return self._mae

    def attach(self, mae: MaskedModel, with_gradients: nn.Module | None = None) -> None:
        """Use this MAE from now on; it is moved to the environment's device.

        Args:
            mae: The model.
            with_gradients: Wrapper to call instead when gradients are kept, such as DistributedDataParallel.

        Raises:
            ValueError: If its grid differs from the environment's.
        """
        geometry = [(g.shape, g.tubelet_size, g.patch_size) for g in (mae.grid, self.grid)]
        if geometry[0] != geometry[1]:
            raise ValueError(
                f"the MAE's (grid, tubelet, patch) is {geometry[0]}, the environment's {geometry[1]}; "
                "make both with the same TokenGrid"
            )
        self._mae, self._with_gradients = mae.to(self.device), with_gradients
        self._set_spaces(mae.embed_dim)

    # --- Tensors, for our own agents and trainers --------------------------------------------------------------------

    def observe(self) -> Tensor:
        """Embed the current clips, each once, with the MAE's current weights: (B / G, L, D) on the device, no graph."""
        return self.embed(self.clip_buffer.pixels)

    def embed(self, pixels: Tensor) -> Tensor:
        """Embed clips (B, C, T, H, W), uint8 on the device, as `observe` does the current ones: (B, L, D)."""
        with autocast(self.config.precision, self.device):
            return self.mae.embed(pixels)

    def step_tensors(self, ids_keep: Tensor) -> Outcome:
        """Mask the current clips, reconstruct them, and under SAME_STEP load the next clips, not yet embedded.

        Args:
            ids_keep: (B, K) int64 on the device, distinct in each row; unchecked, since a check waits for the device.
                Of more columns than this step's K the first K count.
        """
        pixels, num_visible = self.clip_buffer.pixels, self.clip_buffer.num_visible
        ids_keep = ids_keep[:, :num_visible]
        reconstruction, errors = self._reconstruct(pixels, ids_keep, keep_graph=self.keep_graph)
        self.loss = errors.mean()
        errors = errors.detach()
        random_errors = None
        if self._reward.needs_random_mask:
            random_errors = self._reconstruct(pixels, self._random_ids(num_visible), keep_graph=False)[1]
        rewards = self.last_rewards = self._reward(errors, random_errors)
        if self.render_mode is not None:
            self._drawn = (self.clip_buffer.for_each_mask(pixels), reconstruction)
        by_token, predicted = reconstruction.spread(errors), reconstruction.predicted
        outcome = Outcome(rewards, by_token, predicted, self.clip_buffer.clips, self.clip_buffer.positions)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            self.clip_buffer.take_next()
        else:
            self._done[:] = True
        return outcome

    def _reconstruct(self, pixels: Tensor, ids_keep: Tensor, *, keep_graph: bool) -> tuple[Reconstruction, Tensor]:
        with torch.set_grad_enabled(keep_graph), autocast(self.config.precision, self.device):
            network = self._with_gradients if keep_graph and self._with_gradients else self.mae
            reconstruction: Reconstruction = network(pixels, ids_keep, self.config.decode_ratio)
            return reconstruction, reconstruction.errors

    def _random_ids(self, num_visible: int) -> Tensor:
        generator = torch.Generator().manual_seed(int(self.np_random.integers(2**62)))
        return random_ids(self.num_envs, self.grid.num_tokens, num_visible, generator=generator).to(self.device)

    def resume(self, position: int, seed: int) -> None:
        """Load the clips from `position` of the stream with this seed, as when a run resumes."""
        super().reset(seed=rank_seed(seed, self.config.shard[0]))
        self.clip_buffer.stream.seek(position, seed=seed)
        self.clip_buffer.take_next()
        self._done[:] = False

    # --- Gymnasium: the same with NumPy arrays -----------------------------------------------------------------------

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Load clips as `restart` does, and embed them."""
        self.restart(seed=seed, options=options)
        return self.observation(), self._infos()

    def restart(self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None) -> None:
        """Load the stream's next clips, or those that `options` names, without embedding them.

        Args:
            seed: Restarts the stream in this seed's order.
            options: `{"clips": ids}`, B / G clip ids to show in their centre view; or, under DISABLED,
                `{"reset_mask": (B,) bool}`, True for each environment that gets a new clip.

        Raises:
            gymnasium.error.Error: If the options are unknown or do not fit, or the environment is closed.
            TypeError: If the seed is not a whole number.
            ValueError: If the seed is negative, or a list does not hold B seeds. No error changes the environment.
        """
        self.clip_buffer.check_open()
        first_seed, given = checks.check_seeds(seed, self.num_envs), checks.check_options(options)
        clips = self.clip_buffer.check_named(given["clips"]) if "clips" in given else None
        reset_mask = None
        if "reset_mask" in given:
            reset_mask = checks.check_reset_mask(given["reset_mask"], self.num_envs, self.autoreset_mode)
            self.clip_buffer.check_ready()
        super().reset(seed=None if first_seed is None else rank_seed(first_seed, self.config.shard[0]))
        self._drawn = None
        if first_seed is not None or self.clip_buffer.is_empty:
            stream_seed = first_seed if first_seed is not None else int(self.np_random.integers(2**31))
            self.clip_buffer.stream.seek(0, seed=stream_seed)
        if reset_mask is not None:
            self.clip_buffer.replace(reset_mask)
            self._done[reset_mask] = False
            return
        if clips is not None:
            self.clip_buffer.take_named(clips)
        else:
            self.clip_buffer.take_next()
        self._done[:] = False

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Apply one action for each clip: (B, K) token indices or (B, L) scores, by the setting `action`."""
        self.clip_buffer.check_ready()
        ended = np.ones(self.num_envs, dtype=np.bool_)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP and self._done.any():
            observations, infos = self.reset()
            return observations, np.zeros(self.num_envs, np.float32), ~ended, ~ended, infos
        if self._done.any():
            raise error.ResetNeeded(
                f"environments {np.flatnonzero(self._done).tolist()} have ended; "
                "under DISABLED call reset(options={'reset_mask': ...}) before the next step"
            )
        if self.config.action == "ids":
            ids_keep = torch.from_numpy(checks.check_ids(actions, self.num_envs, self._subset)).to(self.device)
        else:
            scores = torch.from_numpy(checks.check_scores(actions, self.num_envs, self.grid.num_tokens))
            ids_keep = scores.to(self.device).topk(self.clip_buffer.visible.largest, dim=1).indices
        outcome = self.step_tensors(ids_keep)
        finished = {"errors": outcome.errors.cpu().numpy(), "clips": outcome.clips.numpy().copy()}
        finished["positions"] = outcome.positions.numpy().copy()
        finished |= {f"_{name}": ended.copy() for name in tuple(finished)}
        following = self._infos() | {"final_info": finished, "_final_info": ended.copy()}
        infos = following if self.autoreset_mode is AutoresetMode.SAME_STEP else finished
        rewards = outcome.rewards.float().cpu().numpy()
        return self.observation(), rewards, ended, np.full_like(ended, self._truncated), infos

    def observation(self) -> NDArray[np.float32]:
        """Embed the current clips: observations (B, L, D) of all environments."""
        return self.clip_buffer.for_each_mask(self.observe().float().cpu()).numpy()

    def _infos(self) -> dict[str, Any]:
        infos: dict[str, Any] = {"clips": self.clip_buffer.clips.numpy().copy()}
        infos["positions"] = self.clip_buffer.positions.numpy().copy()
        if self.config.visible_spread:
            infos["num_visible"] = np.full(self.num_envs, self.clip_buffer.num_visible)
        return infos | {f"_{name}": np.ones(self.num_envs, dtype=np.bool_) for name in infos}

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Draw each clip of the last step, its reconstruction, error and mask; after a reset, without a mask."""
        if self.render_mode is None:
            return None
        from tats_gym.figures.masks import ClipMasks, mask_figure  # brings matplotlib, which takes seconds

        if self._drawn is None:
            pixels = self.clip_buffer.for_each_mask(self.clip_buffer.pixels)
            self._drawn = pixels, unmasked(self.grid, pixels)
        pixels, reconstruction = self._drawn
        seen = [ClipMasks("agent", reconstruction)]
        return tuple(mask_figure(self.grid, pixels, seen, clip=b) for b in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the stream's workers."""
        self.clip_buffer.close()
