"""The mixin for objects that are saved to a folder and loaded from one, or from Hugging Face's Hub."""

import inspect
import json
import os
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelHubMixin, snapshot_download

from tats_gym.encoders.checksums import CHECKSUMS, write_checksums
from tats_gym.encoders.weight_files import read_json
from tats_gym.messages import brief
from tats_gym.runs.checkpoint import CheckpointError

CARD = """---
{{ card_data }}
---

Made with [TATS gym](https://arxiv.org/abs/2505.08561): masked video modelling with a learned choice of tokens. The
origin of the weights is recorded in the metadata of the `.safetensors` file.
"""


class HubFolder(
    ModelHubMixin,
    library_name="tats-gym",
    paper_url="https://arxiv.org/abs/2505.08561",
    tags=["video", "masked-autoencoder"],
    model_card_template=CARD,
):
    """Gives a class `save_pretrained`, `from_pretrained` and `push_to_hub`, see `huggingface_hub.ModelHubMixin`.

    A subclass defines `write` and `read`. A folder is read from the disk where it exists there, and else as the name of
    a repository on the Hub.
    """

    def write(self, folder: Path) -> None:
        """Write the files into a folder that exists."""
        raise NotImplementedError

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the files in a folder; a subclass may take settings as keywords.

        Raises:
            CheckpointError: If they are missing or damaged.
        """
        raise NotImplementedError

    def _save_pretrained(self, save_directory: Path) -> None:
        (save_directory / CHECKSUMS).unlink(missing_ok=True)
        self.write(save_directory)
        held = {"library_name": "tats-gym", "holds": type(self).__name__}
        (save_directory / "config.json").write_text(json.dumps(held, indent=2) + "\n", encoding="utf-8")
        write_checksums(save_directory)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **settings: Any) -> Self:
        names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        place = {name: settings.pop(name) for name in names if name in settings}
        taken = inspect.signature(cls.read).parameters
        for name in cls._hub_mixin_init_parameters:  # the mixin adds them from any config.json
            if name not in taken:
                settings.pop(name, None)
        folder = model_id if os.path.isdir(model_id) else snapshot_download(model_id, **place)
        cls._check_kind(Path(folder))
        return cls.read(Path(folder), **settings)

    @classmethod
    def _check_kind(cls, folder: Path) -> None:
        """Raise CheckpointError if the folder says that it holds another kind of object."""
        config = folder / "config.json"
        holds = read_json(config).get("holds", cls.__name__) if config.is_file() else cls.__name__
        if holds != cls.__name__:
            raise CheckpointError(f"{folder} holds a {brief(holds)}, load it by that class, not as {cls.__name__}")
