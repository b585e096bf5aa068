"""The target `teacher:PATH`: features of a trained encoder that does not change (SALT, arXiv 2509.24317)."""

from tats_gym.encoders.find import EncoderSource
from tats_gym.probe.features import weights_digest
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.targets.features import Features
from tats_gym.tokens import TokenGrid


class Teacher(Features):
    """The features of a trained encoder of any width and depth, which are not in the run's checkpoints.

    They end with the norm of its pre-training, if it has one. Checkpoints hold a digest of its weights.

    Args:
        grid: The clips' geometry.
        path: A run, a checkpoint, an export, a Hugging Face folder or a published file, see `EncoderSource.find`.

    Raises:
        ValueError: If there is no encoder at the path, or it divides clips into other tokens.
        CheckpointError: If the file is damaged.
    """

    def __init__(self, grid: TokenGrid, path: str) -> None:
        try:
            source = EncoderSource.find(path)
        except (ValueError, CheckpointError) as err:
            raise type(err)(f"--target teacher:{path}: {err}") from err
        theirs, ours = ((each.shape, each.tubelet_size, each.patch_size) for each in (source.grid, grid))
        if theirs != ours:
            raise ValueError(
                f"--target teacher:{path} must divide clips as the MAE does, into (grid, tubelet, patch) {ours}, got "
                f"{theirs}; take clips of its size (frames {source.grid.frames}, size {source.grid.size}), or another "
                "teacher"
            )
        video = source.build(norm="encoder" if source.has_norm else "none")
        digest = weights_digest(video)
        super().__init__(video, "teacher", saved=False)
        self._digest = digest

    @property
    def identity(self) -> str:
        """The digest of the teacher's weights: a run goes on beside the same weights alone, at any path."""
        return f"teacher {self._digest}"
