"""TATS: masked video modelling with an agent that chooses the visible tokens. Importing registers the ids.

Letters in shape comments, here and everywhere: B rows of a batch; C channels; T, H, W frames and pixels; t, h, w token
grid; L = t * h * w tokens; K visible tokens; M = L - K hidden tokens; D width; P values in a token; N attention heads,
e = D / N the width of one; s = h * w tokens of a tubelet; G masks of one clip; S draws for each clip; n tokens, as
many as a block is given; A other tokens with which one is compared; R views of one video; V videos of a set; m frames
whose tokens are queries; E examples of a probe. A count that has no letter is named by a word, as in (E, classes).

B counts masks (num_envs) in environments and rollouts, on B / G clips; it counts clips in models and samplers, under
B * G masks. Where only a share of the hidden tokens is decoded, M counts these.
"""

from tats_gym.datasets import Dataset
from tats_gym.registration import env_ids, register_dataset, register_envs
from tats_gym.tokens import TokenGrid

__version__ = "0.1.0"
__all__ = ["Dataset", "TokenGrid", "env_ids", "register_dataset"]

register_envs()
