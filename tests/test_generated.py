"""Files of generated datasets."""

import numpy as np

from tats_gym.clips.generated import encode


def test_the_same_frames_give_the_same_bytes(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 48, 3), dtype=np.uint8)
    for name in ("one", "other"):
        encode(tmp_path / f"{name}.webm", frames, fps=12)
    assert (tmp_path / "one.webm").read_bytes() == (tmp_path / "other.webm").read_bytes()
