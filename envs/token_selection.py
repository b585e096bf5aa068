"""The vector environment: clips in, K visible tokens chosen, the MAE's error out. The only place with the physics."""

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import error, spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from envs.rewards import NEEDS_RANDOM_MASK, REWARDS
from envs.settings import EnvConfig, split_settings
from envs.spaces import Subset, TokenBox, check_ids, check_scores
from tats_gym.clips import ClipBatch, ClipConfig, ClipStream
from tats_gym.figures import mask_figure
from tats_gym.mae import MaskedAutoencoder, Reconstruction
from tats_gym.mae_loading import MAESource, build_mae
from tats_gym.masks import random_ids
from tats_gym.precision import autocast, resolve_device
from tats_gym.tokens import TokenGrid
from tats_gym.upload import Upload, upload_stream

SCORE_LIMIT = 5.0


class Outcome(NamedTuple):
    """What one step tells, as tensors on the environment's device, but for the ids of the clips."""

    rewards: Tensor
    """(B,) float32."""
    errors: Tensor
    """(B, L) mean squared error of every hidden token, zero where visible; float32, without a graph."""
    mask: Tensor
    """(B, L) bool, True where a token was hidden."""
    clips: Tensor
    """(B,) ids of the clips that were masked, on the host."""


class TokenSelectionVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """Choose which K of a clip's L tokens a video masked autoencoder may see.

    ## Description
    Each of the B environments holds one clip. The agent sees its tokens, chooses K of them, and is paid for how
    the MAE reconstructs the rest. One MAE forward serves all B clips. The environment never changes the MAE: whoever
    trains it attaches it with `attach`, sets `keep_graph`, and steps it on `loss` between environment steps.

    ## Action Space
    `action="ids"`: `Subset`, K distinct token indices, numbered frame by frame, row by row. `action="scores"`:
    `Box(-5, 5, (L,))`, the K highest become visible, so that any continuous agent fits.

    ## Observation Space
    `TokenBox` (L, D): the embeddings of all tokens under the MAE's present patch embedding, positions added.

    ## Rewards
    `neg_error` (default): minus the mean error of the hidden tokens. `error`: plus it. `gain`: error under a uniform
    random mask of the same clip minus the agent's, under the same MAE (one more forward).

    ## Starting State
    The next clips of a shuffled, endless stream, seeded by `reset(seed=)`. `reset(options={"clips": ids})` shows the
    named clips in their centre view instead.

    ## Episode End
    One step is one episode: `terminations` are always True, `truncations` never. Under SAME_STEP the observation
    returned is the next clip's; the finished episode's `errors` (B, L) and `clips` are in `infos["final_info"]`.
    No `final_obs` is kept: it would copy megabytes a clip of what the agent has just seen.

    ## Arguments
    Every field of `ClipConfig`, `TokenGrid` and `EnvConfig`, as keywords of `gymnasium.make_vec`.

    ## Version History
    v0: first version.
    """

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.num_envs = num_envs
        parts = split_settings(settings, (ClipConfig, TokenGrid, EnvConfig))
        self.clip_config = ClipConfig(**parts[ClipConfig])
        self.grid = TokenGrid(**parts[TokenGrid])
        self.config = EnvConfig(**parts[EnvConfig])
        self.device = resolve_device(self.config.device)
        self.render_mode = self.config.render_mode
        self._same_step = self.config.autoreset_mode == "same_step"
        mode = AutoresetMode.SAME_STEP if self._same_step else AutoresetMode.DISABLED
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 1, "autoreset_mode": mode}

        self._mae_source = MAESource.find(self.config.mae)
        self._mae: MaskedAutoencoder | None = None
        self.stream = ClipStream(
            self.clip_config,
            frames=self.grid.frames,
            size=self.grid.size,
            seed=0,
            pin_memory=self.device.type == "cuda",
        )
        self._set_spaces(self._mae_source.config.embed_dim)
        self.keep_graph = False
        self.loss: Tensor | None = None
        """Mean hidden error of the last step, with its graph where `keep_graph` is set."""
        self.last_rewards = torch.zeros(num_envs)
        self._upload_stream = upload_stream(self.device)
        self._pixels: Upload | None = None  # (B, C, T, H, W) uint8: the clips in hand
        self.clips = torch.zeros(num_envs, dtype=torch.int64)
        """Ids (B,) of the clips in hand."""
        self._done = np.ones(num_envs, dtype=np.bool_)
        self._drawn: tuple[Tensor, Reconstruction] | None = None

    def _set_spaces(self, embed_dim: int) -> None:
        subset = Subset(self.grid.num_tokens, self.grid.num_visible)
        self._subset = subset
        if self.config.action == "ids":
            self.single_action_space: spaces.Space[Any] = subset
            self.action_space = Subset(self.grid.num_tokens, self.grid.num_visible, batch=self.num_envs)
        else:
            shape = (self.grid.num_tokens,)
            self.single_action_space = spaces.Box(-SCORE_LIMIT, SCORE_LIMIT, shape)
            self.action_space = spaces.Box(-SCORE_LIMIT, SCORE_LIMIT, (self.num_envs, *shape))
        shape_one = (self.grid.num_tokens, embed_dim)
        self.single_observation_space = TokenBox(shape_one, self.grid.shape)
        self.observation_space = TokenBox((self.num_envs, *shape_one), self.grid.shape)

    # --- The MAE -----------------------------------------------------------------------------------------------------

    @property
    def mae(self) -> MaskedAutoencoder:
        """The attached MAE, or else one built from the settings `mae` and `mae_seed`, which nobody trains."""
        if self._mae is None:
            self.attach(build_mae(self._mae_source, self.grid, seed=self.config.mae_seed))
        assert self._mae is not None
        return self._mae

    def attach(self, mae: MaskedAutoencoder) -> None:
        """Use this live MAE from now on; it is moved to the environment's device."""
        geometry = [(g.shape, g.tubelet_size, g.patch_size) for g in (mae.grid, self.grid)]
        if geometry[0] != geometry[1]:
            raise ValueError(
                f"the MAE's (grid, tubelet, patch) is {geometry[0]}, the environment's {geometry[1]}; "
                "make both with the same TokenGrid"
            )
        self._mae = mae.to(self.device)
        self._set_spaces(mae.config.embed_dim)

    # --- Tensors: what our own agents and trainers use ---------------------------------------------------------------

    def observe(self) -> Tensor:
        """Embed the clips in hand under the MAE's present weights: (B, L, D) on the device, without a graph."""
        with autocast(self.config.precision, self.device):
            return self.mae.embed(self._hand())

    def step_tensors(self, ids_keep: Tensor) -> Outcome:
        """Mask the clips in hand, reconstruct, and (under SAME_STEP) take the next clips; nothing is embedded yet.

        Args:
            ids_keep: (B, K) int64 on the device, distinct in each row; not checked, so as not to wait for the device.
        """
        pixels = self._hand()
        reconstruction, errors = self._reconstruct(pixels, ids_keep, keep_graph=self.keep_graph)
        self.loss = errors.mean()
        errors = errors.detach()
        random_errors = None
        if self.config.reward in NEEDS_RANDOM_MASK:
            random_errors = self._reconstruct(pixels, self._random_ids(), keep_graph=False)[1]
        rewards = self.last_rewards = REWARDS[self.config.reward](errors, random_errors)
        if self.render_mode is not None:
            self._drawn = (pixels, reconstruction)
        outcome = Outcome(rewards, reconstruction.spread(errors), reconstruction.mask, self.clips)
        if self._same_step:
            self._take(self.stream.take(self.num_envs))
        else:
            self._done[:] = True
        return outcome

    def _reconstruct(self, pixels: Tensor, ids: Tensor, *, keep_graph: bool) -> tuple[Reconstruction, Tensor]:
        with torch.set_grad_enabled(keep_graph), autocast(self.config.precision, self.device):
            reconstruction = self.mae(pixels, ids)
            return reconstruction, reconstruction.errors

    def _random_ids(self) -> Tensor:
        generator = torch.Generator().manual_seed(int(self.np_random.integers(2**62)))
        ids = random_ids(self.num_envs, self.grid.num_tokens, self.grid.num_visible, generator=generator)
        return ids.to(self.device)

    def _hand(self) -> Tensor:
        if self._pixels is None:
            raise error.ResetNeeded("call reset() before the first step")
        return self._pixels.get()

    def _take(self, batch: ClipBatch) -> None:
        self._pixels = Upload(batch.pixels, self.device, self._upload_stream)
        self.clips = batch.ids
        self._done[:] = False

    def resume(self, position: int, seed: int) -> None:
        """Take in hand the clips that a stream of this seed gives from `position` on, as a run left them."""
        super().reset(seed=seed)
        self.stream.seek(position, seed=seed)
        self._take(self.stream.take(self.num_envs))

    # --- Gymnasium: the same, as NumPy -------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Take clips in hand, as `restart` does, and embed them."""
        self.restart(seed=seed, options=options)
        return self._observation(), self._infos()

    def restart(self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None) -> None:
        """Take clips in hand: the next ones of the stream, or those that `options` names.

        Args:
            seed: Restarts the stream in the order that this seed gives.
            options: `{"clips": ids}`, B clip ids to show in their centre view; or, under DISABLED,
                `{"reset_mask": (B,) bool}`, which environments to give a new clip.
        """
        if isinstance(seed, list):
            seed = seed[0]
        super().reset(seed=seed, options=options)
        self._drawn = None
        options = options or {}
        unknown = set(options) - {"clips", "reset_mask"}
        if unknown:
            raise error.Error(f"reset knows the options 'clips' and 'reset_mask', got {sorted(unknown)}")
        if seed is not None or self._pixels is None:
            stream_seed = seed if seed is not None else int(self.np_random.integers(2**31))
            self.stream.seek(0, seed=stream_seed)
        if "clips" in options:
            ids = np.asarray(options["clips"]).reshape(-1)
            if len(ids) != self.num_envs:
                raise error.Error(
                    f"options['clips'] must name {self.num_envs} clips, one an environment, got {len(ids)}"
                )
            self._take(self.stream.centre([int(i) for i in ids]))
        elif "reset_mask" in options:
            self._replace(np.asarray(options["reset_mask"]))
        else:
            self._take(self.stream.take(self.num_envs))

    def _replace(self, reset_mask: NDArray[Any]) -> None:
        if reset_mask.dtype != np.bool_ or reset_mask.shape != (self.num_envs,) or not reset_mask.any():
            raise error.Error(
                f"reset_mask must be bool of shape ({self.num_envs},) with at least one True, got {reset_mask!r}"
            )
        if self._pixels is None:
            raise error.ResetNeeded("reset all environments once before resetting some of them")
        batch = self.stream.take(int(reset_mask.sum()))
        rows = torch.from_numpy(np.flatnonzero(reset_mask))
        pixels = self._hand().clone()
        pixels[rows.to(self.device)] = batch.pixels.to(self.device)
        self._pixels = Upload(pixels, self.device)
        self.clips = self.clips.clone()
        self.clips[rows] = batch.ids
        self._done[reset_mask] = False

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Apply one action a clip: (B, K) token indices or (B, L) scores, as the setting `action` says."""
        if self._pixels is not None and self._done.any():
            raise error.ResetNeeded(
                f"environments {np.flatnonzero(self._done).tolist()} have ended; "
                "under DISABLED call reset(options={'reset_mask': ...}) before the next step"
            )
        if self.config.action == "ids":
            ids = torch.from_numpy(check_ids(actions, self.num_envs, self._subset)).to(self.device)
        else:
            scores = torch.from_numpy(check_scores(actions, self.num_envs, self.grid.num_tokens))
            ids = scores.to(self.device).topk(self.grid.num_visible, dim=1).indices
        outcome = self.step_tensors(ids)
        ended = np.ones(self.num_envs, dtype=np.bool_)
        finished = {"errors": outcome.errors.cpu().numpy(), "clips": outcome.clips.numpy().copy()}
        finished |= {f"_{name}": ended.copy() for name in tuple(finished)}
        following = self._infos() | {"final_info": finished, "_final_info": ended.copy()}
        infos = following if self._same_step else finished
        rewards = outcome.rewards.float().cpu().numpy()
        return self._observation(), rewards, ended, np.zeros_like(ended), infos

    def _observation(self) -> NDArray[np.float32]:
        return self.observe().float().cpu().numpy()

    def _infos(self) -> dict[str, Any]:
        return {"clips": self.clips.numpy().copy(), "_clips": np.ones(self.num_envs, dtype=np.bool_)}

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Draw each clip of the last step, its reconstruction, error and mask; after a reset, with nothing hidden."""
        if self.render_mode is None:
            return None
        pixels, reconstruction = self._drawn or (self._hand(), self.mae.unmasked(self._hand()))
        return tuple(mask_figure(self.grid, pixels, reconstruction, clip=b) for b in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the stream's workers."""
        self.stream.close()
