"""Encoders and mask sets that are shared by Hugging Face's Hub, or as folders."""

from tats_gym.hub.encoder import PretrainedEncoder
from tats_gym.hub.folder import HubFolder
from tats_gym.hub.mask_set import MaskSet

__all__ = ["HubFolder", "MaskSet", "PretrainedEncoder"]
