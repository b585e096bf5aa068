"""The encoder with `save_pretrained`, `from_pretrained` and `push_to_hub`."""

from pathlib import Path
from typing import Any, Self

from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.weight_files import write_safetensors
from tats_gym.hub.folder import HubFolder
from tats_gym.model.encoder import FeatureNorm, VideoEncoder, load_encoder_weights
from tats_gym.model.videomae import MAEConfig
from tats_gym.tokens import TokenGrid


class PretrainedEncoder(HubFolder, VideoEncoder):
    """A `VideoEncoder` in evaluation mode that knows the origin of its weights.

    Its folder is that of `--format safetensors`, with a config.json and a model card. It is read from all that
    `EncoderSource.find` reads, also from a run.

    Args:
        config: See `VideoEncoder`.
        grid: See `VideoEncoder`.
        origin: Source of the weights, see `EncoderSource`.
        norm: See `VideoEncoder`.
        drop_path: See `VideoEncoder`.
    """

    def __init__(
        self, config: MAEConfig, grid: TokenGrid, *, origin: dict[str, Any], norm: FeatureNorm, drop_path: float
    ) -> None:
        VideoEncoder.__init__(self, config, grid, norm=norm, drop_path=drop_path)
        self.origin = origin

    @classmethod
    def of(cls, source: EncoderSource, *, norm: FeatureNorm | None = None, drop_path: float = 0.0) -> Self:
        """Build the encoder of a source; `norm` defaults to the encoder's own where it has one."""
        chosen = norm or ("encoder" if source.has_norm else "none")
        source.check_norm(chosen)
        encoder = cls(source.config, source.grid, origin=source.origin, norm=chosen, drop_path=drop_path)
        load_encoder_weights(encoder, source.weights)
        encoder.eval()
        return encoder

    def write(self, folder: Path) -> None:
        """Write encoder.safetensors."""
        source = EncoderSource(self.config, self.grid, self.state_dict(), self.origin)
        write_safetensors(folder / "encoder.safetensors", source.weights, describe(source))

    @classmethod
    def read(cls, folder: Path, *, norm: FeatureNorm | None = None, drop_path: float = 0.0) -> Self:
        """Read an encoder as `EncoderSource.find` finds it."""
        return cls.of(EncoderSource.find(folder), norm=norm, drop_path=drop_path)
