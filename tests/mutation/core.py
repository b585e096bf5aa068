"""The modules that are mutated, and the tests that cover each."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Module:
    """A module of the core."""

    file: str
    """From the root of the repository."""
    tests: tuple[str, ...]
    """Names of quick test files."""
    wider: tuple[str, ...] = ()
    """Names of test files that a mutant meets after these."""

    @property
    def name(self) -> str:
        """The import name of the module."""
        dotted = ".".join(Path(self.file).with_suffix("").parts)
        return dotted if dotted.startswith("tats_gym.") else f"tats_gym.{dotted}"


READERS = "tats_gym/clips/readers"

CORE = (
    Module("agents/plackett_luce.py", ("plackett_luce",), ("properties", "gradients")),
    Module("agents/tats.py", ("tats",), ("rollouts", "reused_scores", "gradients")),
    Module("agents/marginal_credit.py", ("marginal_credit",), ("gradients",)),
    Module("agents/rollout_buffer.py", ("rollout_buffer",), ("rollout_steps", "adamae")),
    Module("agents/rollouts.py", ("rollouts", "rollout_steps"), ("reused_scores", "adamae")),
    Module("agents/training/measures/evaluation.py", ("held_out_statistics", "evaluation"), ("collapse",)),
    Module("agents/training/measures/mask_statistics.py", ("held_out_statistics",), ("evaluation",)),
    Module("agents/peers/expected_errors.py", ("expected_errors",)),
    Module("tats_gym/model/errors.py", ("expected_errors",)),
    Module("agents/experiments/studies/hand_masks.py", ("hand_masks",), ("study",)),
    Module("envs/rewards.py", ("rewards",), ("properties", "token_selection")),
    Module("tats_gym/masks.py", ("masks",), ("motion", "properties")),
    Module("tats_gym/clips/games/ram.py", ("atari",), ("game_coordinates",)),
    Module("tats_gym/probe/ridge.py", ("decoders",), ("game_coordinates",)),
    Module("tats_gym/statistics.py", ("statistics",)),
    Module("tats_gym/tokens.py", ("tokens",), ("masks", "properties")),
    Module(f"{READERS}/counted_frames.py", ("counted_frames",), ("readers", "frame_order")),
    Module(f"{READERS}/frame_order.py", ("packet_orders",), ("readers", "frame_order")),
    Module(f"{READERS}/headers.py", ("headers",), ("frame_order",)),
    Module(f"{READERS}/timed_frames.py", ("timed_frames",), ("readers", "frame_order")),
)
