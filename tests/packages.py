"""A package of the documentation's files, built and installed as a user's would be."""

import re
import subprocess
import sys
from pathlib import Path

FILES = re.compile(r"```\w+\n# (\S+\.(?:py|toml))\n(.*?)```", re.DOTALL)
"""The blocks of a page that are files of the reader's: name and text."""


def install(files: dict[str, str], source: Path, target: Path) -> None:
    """Write the files of a package below `source`, and install it in the folder `target`."""
    for name, text in files.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    uv = Path(sys.executable).parent / "uv"
    command = [uv, "pip", "install", "--offline", "--no-deps", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, "--target", target, source], check=True, capture_output=True, timeout=300)
