"""The manifest: with which settings a folder of results was begun, so that it holds the results of one run only."""

import json
from pathlib import Path
from typing import Any

from refusion.pairs.files import DataError
from refusion.system.stores import Store

MANIFEST = "manifest.json"

SIZE = "rows_per_shard"
CONTENT = "content"

_SAID = {
    "source": "the source is another one",
    CONTENT: "the source has changed",
    "weights": "the model has other weights",
}


def check_folder(store: Store, source: str | Path) -> None:
    """Refuse a folder that is a file, lies within the source, or holds something else.

    Raises:
        DataError: it does.
    """
    path, within = store.path, Path(source)
    if path and path.exists() and not path.is_dir():
        raise DataError(f"The output {store.name} is a file, but a folder is needed; choose another.")
    if path and within.is_dir() and path.resolve().is_relative_to(within.resolve()):
        raise DataError(f"The output {store.name} lies within the source {within.name}; choose another folder.")
    # Hidden files are what a run leaves that was ended before it had a manifest.
    others = [name for name in store.names() if not name.startswith(".")]
    if others and not store.exists(MANIFEST):
        raise DataError(f"The output folder {store.name} holds {others[0]}; give a new or an empty folder.")


def agree(store: Store, settings: dict[str, Any], size: int, *, mended: bool) -> int:
    """Write the manifest, or refuse if it is that of another run; the rows of a shard.

    Args:
        store: the folder of the results.
        settings: what the results depend on; ``rows_per_shard`` is None for what the folder was begun with.
        size: rows of a shard in a new folder.
        mended: the content of the source may have changed.

    Raises:
        DataError: it was begun with other settings.
    """
    if not store.exists(MANIFEST):
        store.write(MANIFEST, json.dumps({**settings, SIZE: size}, indent=1) + "\n")
    try:
        begun = json.loads(store.read(MANIFEST))
        # As it comes back from the manifest: lists for tuples.
        wanted = json.loads(json.dumps({**settings, SIZE: settings[SIZE] or begun[SIZE]}))
        differing = [key for key in wanted if begun[key] != wanted[key]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{MANIFEST} in {store.name} is not one of this program; give another folder.") from error
    if differing == [CONTENT] and mended:
        store.write(MANIFEST, json.dumps(wanted, indent=1) + "\n")
    elif differing:
        said = "; ".join(_SAID.get(key, f"{key} was {begun[key]}, now it is {wanted[key]}") for key in differing)
        raise DataError(f"{store.name} was begun differently: {said}. Ask for the same, or give another folder.")
    return int(begun[SIZE])
