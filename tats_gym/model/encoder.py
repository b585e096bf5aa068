"""The encoder alone, without the decoder: features of all tokens of a clip."""

from typing import Literal, get_args

from torch import Tensor, nn

from tats_gym.messages import check_choice
from tats_gym.model.pos_embed import POS_EMBEDS
from tats_gym.model.videomae import Encoder, MAEConfig, initialise
from tats_gym.tokens import TokenGrid

FeatureNorm = Literal["encoder", "none"]


class VideoEncoder(nn.Module):
    """Maps clips to the features of all their tokens. Parameter names are the masked autoencoder's.

    Args:
        config: Widths and depths; the decoder's are not used.
        grid: The clip's geometry; its K is not used.
        norm: "encoder" ends with the norm of pre-training; "none" leaves it out, as the published VideoMAE does for
            fine-tuning, where the classifier has its own norm.
        drop_path: Rate at which residual branches are dropped in the last block, rising to it linearly.
    """

    def __init__(
        self, config: MAEConfig, grid: TokenGrid, *, norm: FeatureNorm = "encoder", drop_path: float = 0.0
    ) -> None:
        super().__init__()
        check_choice("norm", norm, get_args(FeatureNorm))
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path must lie in [0, 1), got {drop_path}")
        self.config, self.grid = config, grid
        self.encoder = Encoder(config, grid, drop_path)
        self.pos_embed = POS_EMBEDS[config.pos_embed](grid.shape, config.embed_dim)
        self.apply(initialise)
        if norm == "none":
            self.encoder.norm = nn.Identity()

    def forward(self, clips: Tensor) -> Tensor:
        """Encode every token of clips (B, C, T, H, W), pixels in [0, 255] of any dtype: (B, L, D)."""
        tokens = self.encoder.embed(self.grid.cut(clips), self.pos_embed())
        features: Tensor = self.encoder(tokens)
        return features


def encoder_weights(mae_weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pick the encoder's weights from a masked autoencoder's."""
    return {name: value for name, value in mae_weights.items() if name.startswith(("encoder.", "pos_embed."))}


def load_encoder_weights(encoder: VideoEncoder, weights: dict[str, Tensor]) -> None:
    """Load the weights that `encoder_weights` picks; without the norm's where the encoder has none.

    Raises:
        RuntimeError: If names or shapes disagree.
    """
    if isinstance(encoder.encoder.norm, nn.Identity):
        weights = {name: value for name, value in weights.items() if not name.startswith("encoder.norm.")}
    encoder.load_state_dict(weights)
