"""Select the metadata of a video that also hold for the fused video."""

from collections.abc import Mapping

_QUICKTIME = "com.apple.quicktime."

_KEPT = {
    "creation_time": (),
    "date": (),
    "location": (f"{_QUICKTIME}location.ISO6709",),
    "title": (f"{_QUICKTIME}title",),
    "comment": (f"{_QUICKTIME}comment",),
    "description": (f"{_QUICKTIME}description",),
    "artist": (f"{_QUICKTIME}artist", f"{_QUICKTIME}author"),
    "copyright": (f"{_QUICKTIME}copyright",),
    "make": (f"{_QUICKTIME}make", "com.android.manufacturer"),
    "model": (f"{_QUICKTIME}model", "com.android.model"),
}
"""Keys of FFmpeg, and other names that phones give them."""

_ALSO_KEPT = (f"{_QUICKTIME}creationdate",)


def kept_metadata(given: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata that also hold for the fused video: time, place, title, comments, author and camera.

    Rotation, encoder, brands and the like are left out. What only a key of QuickTime or Android states gets the common
    key, too, since MP4 and MOV are written with the common ones.

    Args:
        given: metadata of a container, as FFmpeg names them; Matroska has them in capitals.
    """
    # PyAV 19 keeps bytes that are not UTF-8 as surrogates.
    lower = {
        key.lower(): value.encode(errors="surrogateescape").decode(errors="replace") for key, value in given.items()
    }
    kept: dict[str, str] = {}
    for common, others in _KEPT.items():
        stated = {key: lower[key.lower()] for key in (common, *others) if key.lower() in lower}
        if stated:
            kept |= {common: next(iter(stated.values()))} | stated
    return kept | {key: lower[key.lower()] for key in _ALSO_KEPT if key.lower() in lower}
