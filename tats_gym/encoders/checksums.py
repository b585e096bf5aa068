"""Writes and verifies SHA256SUMS beside exported files; `sha256sum --check SHA256SUMS` verifies them too."""

import hashlib
from pathlib import Path

from tats_gym.runs.checkpoint import CheckpointError

CHECKSUMS = "SHA256SUMS"


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS with the checksums of all files in a folder."""
    lines = [f"{_digest(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def verify_checksum(path: Path) -> None:
    """Verify a file against the checksum beside it, if there is one.

    Raises:
        CheckpointError: If they differ.
    """
    sums = path.with_name(CHECKSUMS)
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if name == path.name and digest != _digest(path):
            raise CheckpointError(
                f"{path} does not match {CHECKSUMS} beside it: it was damaged or changed; copy or export it again"
            )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
