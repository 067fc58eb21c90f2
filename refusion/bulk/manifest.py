"""The manifest: the settings a folder of results was started with, so that it holds the results of one run only."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from refusion.pairs.errors import DataError
from refusion.system.stores import Store

MANIFEST = "manifest.json"
SIZE = "rows_per_shard"
CONTENT = "content"

_SAID = {
    "source": "the source is a different one",
    CONTENT: "the source has changed",
    "weights": "the model has different weights",
}


def check_folder(store: Store, source: str | Path) -> None:
    """Check that a folder can hold the results.

    Raises:
        DataError: it is a file, lies within the source, or holds files that are not results.
    """
    path, within = store.path, Path(source)
    if path and path.exists() and not path.is_dir():
        raise DataError(f"The output {store.name} is a file, but a folder is needed; choose another.")
    if path and within.is_dir() and path.resolve().is_relative_to(within.resolve()):
        raise DataError(f"The output {store.name} lies within the source {within.name}; choose another folder.")
    # A run that was interrupted before it had a manifest leaves hidden files.
    others = [name for name in store.names() if not name.startswith(".")]
    if others and not store.exists(MANIFEST):
        raise DataError(f"The output folder {store.name} holds {others[0]}; give a new or an empty folder.")


def agree(store: Store, settings: dict[str, Any], size: int, *, mended: bool) -> int:
    """Write the manifest, or check that an existing one has the same settings.

    Args:
        store: the folder of the results.
        settings: the settings that the results depend on; ``rows_per_shard`` may be None, for that of the manifest.
        size: rows per shard in a new folder.
        mended: the content of the source may have changed.

    Returns:
        The rows per shard.

    Raises:
        DataError: the folder was started with other settings, or its manifest is damaged.
    """
    if not store.exists(MANIFEST):
        store.write(MANIFEST, _to_json({**settings, SIZE: size}))
    try:
        begun = json.loads(store.read(MANIFEST))
        # The round trip turns tuples into lists, as in the manifest.
        wanted = json.loads(_to_json({**settings, SIZE: settings[SIZE] or begun[SIZE]}))
        differing = [_difference(key, begun, wanted) for key in wanted if key not in begun or begun[key] != wanted[key]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{MANIFEST} in {store.name} was not written by refusion; give another folder.") from error
    if differing == [_SAID[CONTENT]] and mended:
        store.write(MANIFEST, _to_json(wanted))
    elif differing:
        raise DataError(
            f"{store.name} was started with other settings: {'; '.join(differing)}. Use the same settings, or give "
            "another folder."
        )
    return int(begun[SIZE])


def _difference(key: str, begun: dict[str, Any], wanted: dict[str, Any]) -> str:
    if key not in begun:
        return f"refusion {begun['refusion']} had no {key}"
    return _SAID.get(key, f"{key} was {begun[key]}, now it is {wanted[key]}")


def _to_json(settings: dict[str, Any]) -> str:
    return json.dumps(settings, indent=1, default=np.generic.item) + "\n"
