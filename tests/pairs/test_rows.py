"""Sources of a bulk fusion: every row is in one part, and is read alone."""

import io
from pathlib import Path

import numpy as np
import pytest
from support.bulk import pairs, write

from refusion.images.reading import read_picture
from refusion.pairs.errors import DataError
from refusion.pairs.sources import open_source
from refusion.tasks import get_task

IR_VIS = get_task("ir-vis")


def files(folder: Path, rows: list[dict]) -> Path:
    for name in ("ir", "vis"):
        (folder / name).mkdir(parents=True)
        for index, row in enumerate(rows):
            (folder / name / f"{index:02d}.png").write_bytes(row[name]["bytes"])
    return folder


@pytest.mark.parametrize("kind", ["one row group", "row groups of 2", "two files", "images", "in a store"])
def test_parts_hold_every_row_once(tmp_path, kind):
    rows = pairs(31, 8, 8)
    if kind in ("one row group", "row groups of 2"):
        file = write(tmp_path / "pairs.parquet", rows, 31 if kind.startswith("one") else 2)
        source = open_source(file, IR_VIS)
    elif kind == "two files":
        write(tmp_path / "0.parquet", rows[:13], 5)
        write(tmp_path / "1.parquet", rows[13:], 7)
        source = open_source(tmp_path, IR_VIS)
    elif kind == "images":
        source = open_source(files(tmp_path / "pairs", rows), IR_VIS)
    else:
        source = open_source(files(tmp_path / "pairs", rows).as_uri(), IR_VIS)
    assert source.total == 31
    for size in (1, 4, 31, 100):
        parts = source.parts(size)
        assert [part.first for part in parts] == list(range(0, 31, size))
        found = [row for part in parts for row in source.read(part)]
        assert [row.index for row in found] == list(range(31))
        for row in (found[0], found[17], found[30]):
            expected = rows[row.index]["vis"]["bytes"]
            np.testing.assert_array_equal(
                read_picture(row.sources[1]).luminance, read_picture(io.BytesIO(expected)).luminance
            )


def test_a_store_names_what_has_no_partner_and_takes_patterns(tmp_path):
    folder = files(tmp_path / "pairs", pairs(3, 8, 8))
    (folder / "ir" / "01.png").rename(folder / "ir" / "other.png")
    (folder / "vis" / "notes.txt").write_text("")
    source = open_source(folder.as_uri(), IR_VIS)
    assert source.total == 2
    assert [sentence.split()[0] for sentence in source.left_out] == ["ir/other.png", "vis/01.png", "vis/notes.txt"]
    for part in range(3):
        write(tmp_path / f"part-{part}.parquet", pairs(part + 1, 8, 8))
    assert open_source(f"{tmp_path.as_uri()}/part-[01].parquet", IR_VIS).total == 3
    assert open_source(f"{tmp_path.as_uri()}/part-1.parquet", IR_VIS).total == 2


def test_a_store_pairs_files_by_their_path_without_the_two_folders(tmp_path):
    for file in ("day/ir/1.png", "day/vis/1.jpg", "night/ir/1.png", "night/vis/1.png", "ir/sub/2.png", "vis/sub/2.png"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    (tmp_path / "day" / "ir" / "2.png").write_bytes(b"")
    (tmp_path / "night" / "vis" / "2.png").write_bytes(b"")
    source = open_source(tmp_path.as_uri(), IR_VIS)
    assert [place for place, _ in source.places] == [
        ("day/1", "day/ir/1.png", "day/vis/1.jpg"),
        ("night/1", "night/ir/1.png", "night/vis/1.png"),
        ("sub/2", "ir/sub/2.png", "vis/sub/2.png"),
    ]
    assert [sentence.split()[0] for sentence in source.left_out] == ["day/ir/2.png", "night/vis/2.png"]
    (tmp_path / "day" / "vis" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds both day/vis/1\.jpg and day/vis/1\.png; keep only one of them"):
        open_source(tmp_path.as_uri(), IR_VIS)


def test_content_and_names_are_told_apart(tmp_path):
    first = open_source(write(tmp_path / "pairs.parquet", pairs(4)), IR_VIS)
    again = open_source(write(tmp_path / "pairs.parquet", pairs(4)), IR_VIS)
    assert (first.names, first.content) == (again.names, again.content)
    other = pairs(4)
    other[2]["ir"] = other[0]["ir"]
    mended = open_source(write(tmp_path / "pairs.parquet", other), IR_VIS)
    assert (mended.names, mended.content != first.content) == (first.names, True)
    longer = open_source(write(tmp_path / "pairs.parquet", pairs(5)), IR_VIS)
    assert longer.names != first.names


@pytest.mark.parametrize("absolute", [False, True])
def test_rows_of_a_list_are_told_apart_by_the_folders_of_their_files(tmp_path, monkeypatch, absolute):
    """Scenes often are folders with files of the same names."""
    data = tmp_path / "data"
    for number, row in enumerate(pairs(3, 8, 8)):
        for name in ("ir", "vis"):
            (data / f"s{number}").mkdir(parents=True, exist_ok=True)
            (data / f"s{number}" / f"{name}.png").write_bytes(row[name]["bytes"])

    def digest(*scenes: int) -> str:
        top = f"{data}/" if absolute else ""
        lines = [f"{top}s{number}/ir.png,{top}s{number}/vis.png" for number in scenes]
        (data / "list.csv").write_text("\n".join(["a,b", *lines]))
        return open_source(data / "list.csv", IR_VIS).names

    first = digest(0, 1)
    assert len({first, digest(1, 0), digest(0, 2)}) == 3
    data = data.rename(tmp_path / "moved")
    assert digest(0, 1) == first
    monkeypatch.chdir(data)
    assert open_source("list.csv", IR_VIS).names == first
