"""The file SHA256SUMS in a model folder, as `sha256sum` writes and checks it."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from refusion.hub.errors import ModelError
from refusion.system.files import write_text

CHECKSUMS = "SHA256SUMS"


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write the checksums of those files that exist."""
    lines = [f"{_digest((folder / n).read_bytes())}  {n}\n" for n in sorted(names) if (folder / n).is_file()]
    write_text(folder / CHECKSUMS, "".join(lines))


def read_verified(path: Path) -> bytes:
    """Content of a file, compared with the checksum in its folder where the folder has checksums.

    Raises:
        ModelError: the checksum differs, is missing from SHA256SUMS, or SHA256SUMS is not in the form of `sha256sum`.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    sums = path.parent / CHECKSUMS
    if not sums.is_file():
        return content
    noted = _noted(sums).get(path.name)
    if noted is None:
        raise ModelError(
            f"{CHECKSUMS} has no line for {path.name}, so the file does not belong to this model; remove one of them."
        )
    if noted != _digest(content):
        raise ModelError(
            f"{path.name} does not match {CHECKSUMS}: its SHA-256 begins with {_digest(content)[:12]}, "
            f"not {noted[:12]}. Download it again (force_download=True); if you changed it yourself, "
            f"`refusion card FOLDER` renews {CHECKSUMS}."
        )
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _noted(sums: Path) -> dict[str, str]:
    """Checksums by file name."""
    noted = {}
    for number, line in enumerate(sums.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64:
            raise ModelError(f"Line {number} of {CHECKSUMS} is not a SHA-256, two spaces and a file name.")
        noted[name] = digest.lower()
    return noted
