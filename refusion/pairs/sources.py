"""Open a source of bulk fusion: folders, a list, Parquet files, a data set on the Hub, or an object store."""

from fnmatch import fnmatchcase
from functools import partial
from glob import has_magic
from pathlib import Path

from pyarrow import fs

from refusion.pairs.errors import DataError
from refusion.pairs.file_rows import listed_pairs, pairs_in_folders, pairs_of_files, read_files, size_of
from refusion.pairs.jobs import match_folders
from refusion.pairs.kinds import METADATA, folders_to_match, parquet_files, source_kind
from refusion.pairs.lists import BY_A_LIST
from refusion.pairs.rows import Source
from refusion.pairs.table_rows import Columns, hub_source, parquet_source
from refusion.system.files import files_matching
from refusion.system.stores import Store, without_secrets
from refusion.tasks import Task


def open_source(
    source: str | Path,
    task: Task,
    columns: Columns = None,
    id_column: str | None = None,
    split: str = "train",
    revision: str | None = None,
    streaming: bool = False,
    match: tuple[str, str] | None = None,
) -> Source:
    """Open the pairs to fuse; no image is read.

    Args:
        source: a folder with the task's two subfolders (matched by file stem) or with ``metadata.jsonl``, as for
            training; a Parquet file, a pattern such as ``part-*.parquet``, or a folder of them; a CSV or JSONL list
            with the columns ``a`` and ``b``; or OWNER/NAME of a data set on the Hub. Parquet files and the two
            subfolders, at any depth, may also be in an object store that pyarrow supports: ``s3://``, ``gs://``, ``hf://``.
        task: the task.
        columns: the two image columns; by default named like the task's subfolders, or a and b.
        id_column: column of the ids; by default the id is the file stem or the row's index.
        split: split of a data set on the Hub.
        revision: branch, tag or commit on the Hub.
        streaming: read the Parquet files of a data set on the Hub remotely, without storing them.
        match: patterns of the names in a folder, see `refusion.pairs.jobs.match_folders`.

    Raises:
        DataError: there is no such source, it holds no pair, or a column is missing.
        PictureError: the list is damaged.
        ModelError: there is no such data set on the Hub, or the Hub cannot be reached.
    """
    path, here = Path(source), fs.LocalFileSystem()
    folders = folders_to_match(source, task, match)
    if "://" in str(source):
        return _in_store(str(source), task, columns, id_column)
    if has_magic(str(source)) and not path.exists():
        files = [file.as_posix() for file in files_matching(path)]
        return parquet_source(here, files, str(source), task, columns, id_column)
    kind = source_kind(source, task) if match is None else "folders"
    if split != "train" and kind != "hub":
        raise DataError(
            f'{path.name} is not on the Hub, so it has no split {split!r}; a pattern such as "test-*.parquet" chooses '
            "Parquet files."
        )
    if kind == "hub":
        return hub_source(str(source), task, columns, id_column, split, revision, streaming)
    if kind == "parquet":
        return parquet_source(
            here, [file.as_posix() for file in parquet_files(path)], path.name, task, columns, id_column
        )
    if columns or id_column:
        raise DataError(
            f"{path.name} has no columns to choose from: its pairs are named after their files; leave out --columns "
            "and --id-column."
        )
    if kind == "folders":
        jobs = match_folders(*folders, path / "fused", patterns=match or ("*", "*"), advice=BY_A_LIST)
        pairs = [(job.name, str(job.a), str(job.b)) for job in jobs.pairs]
        return pairs_of_files(pairs, path, read_files, size_of, tuple(jobs.unmatched), tuple(jobs.notes))
    if kind == "imagefolder":
        return listed_pairs(path / METADATA, ("a_file_name", "b_file_name"), partial(read_files, folder=path))
    return listed_pairs(path, ("a", "b"), read_files)


def _in_store(source: str, task: Task, columns: Columns, id_column: str | None) -> Source:
    shown = without_secrets(source)
    place, mark, query = source.partition("?")
    parts = place.split("/")
    end = next((i for i, part in enumerate(parts) if has_magic(part)), len(parts))
    store = Store.at("/".join(parts[:end]) + mark + query)
    if end == len(parts) and store.root.lower().endswith(".parquet"):
        return parquet_source(store.filesystem, [store.root], shown, task, columns, id_column)
    sizes = store.files()
    pattern = "/".join(parts[end:]) or "*.parquet"
    if parquet := [f"{store.root}/{name}" for name in sizes if fnmatchcase(name, pattern)]:
        return parquet_source(store.filesystem, parquet, shown, task, columns, id_column)
    pairs = pairs_in_folders(sizes, task, shown)
    if not pairs:
        raise DataError(f"{shown} holds neither Parquet files nor pairs in {' and '.join(task.folders)}.")
    used = {path for _, *both in pairs for path in both}
    left_out = tuple(f"{name} has no partner, or is not an image" for name in sizes if name not in used)
    return pairs_of_files(pairs, None, partial(read_files, store=store), sizes.get, left_out)
