"""Refuse images for which there is not enough memory."""

from refusion.images.picture import PictureError


def check_memory(count: int, height: int, width: int, needed: int, free: int) -> None:
    """Refuse pictures for which there is not enough memory, before the system ends the process for it.

    Args:
        count: pairs.
        height: of each picture.
        width: of each picture.
        needed: bytes that they need.
        free: bytes that can be had.

    Raises:
        PictureError: a sentence with what is needed and what is free.
    """
    if needed > free:
        what, advice = "A picture", "close other programs, or make the pictures smaller"
        if count > 1:
            what, advice = f"A batch of {count} pairs", "make the batch smaller"
        raise PictureError(
            f"{what} of {width} x {height} pixels needs {needed / 1e9:.1f} GB of memory to be fused, but only "
            f"{free / 1e9:.1f} GB are free; {advice}."
        )
