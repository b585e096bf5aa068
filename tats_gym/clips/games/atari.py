"""The Atari dataset: random play of twelve games of the Arcade Learning Environment, recorded on first use."""

from pathlib import Path

from tats_gym.clips.games.config import RecordConfig
from tats_gym.clips.games.ram import RAM
from tats_gym.clips.games.recording import VERSION, make_recording
from tats_gym.clips.paths import data_root

ATARI_GAMES = tuple(RAM)
"""The twelve games, whose coordinates in the console's memory are published."""


def atari_config(
    games: tuple[str, ...] = ATARI_GAMES, *, videos: int = RecordConfig.videos, held_out: int = RecordConfig.held_out
) -> RecordConfig:
    """Return the settings of the dataset: every fourth frame of the emulator, in 96 x 96 pixels."""
    return RecordConfig(
        env=tuple(f"ALE/{game}-v5" for game in games),
        make=("frameskip=4", "repeat_action_probability=0.25"),
        videos=videos,
        held_out=held_out,
        frames=24,
        size=96,
    )


def make_atari_data(root: Path | None = None, config: RecordConfig | None = None) -> Path:
    """Record the dataset, whole or not at all, unless it exists; return its folder.

    Args:
        root: Folder of the dataset; None takes atari-v1 (the recorder's version) under $TATS_GYM_DATA, else under the
            user's cache.
        config: Its settings, for example of fewer games; None takes those of an existing one, or `atari_config()`.

    Raises:
        FileExistsError: If `root` holds other files than a recording, or one with other settings.
        ModuleNotFoundError: If it must be recorded, and ale-py is not installed.
    """
    root = data_root(f"atari-v{VERSION}") if root is None else Path(root)
    # Without settings of its own it reads any recording, such as one of a few games by tats-gym record.
    wanted = {"version": VERSION} if config is None else None
    make_recording(root, config or atari_config(), kind="Atari set", wanted=wanted)
    return root
