"""Lists and tables of pairs: what programs write is read, and a row that names no pair fails alone."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.pairs import image

from refusion.images import PictureError
from refusion.pairs.dataset import load_pairs, read_row
from refusion.pairs.errors import DataError
from refusion.pairs.jobs import read_list
from refusion.pairs.sources import open_source
from refusion.tasks import get_task

TASK = get_task("ir-vis")


def test_a_url_in_a_list_fails_alone(both):
    (both / "pairs.csv").write_text("a,b\nir/scene.png,vis/scene.png\nhttps://example.org/a.png,vis/scene.png\n")
    found = read_list(both / "pairs.csv", both / "out")
    assert [job.name for job in found.pairs] == ["scene.png"]
    assert found.unmatched == ["pairs.csv, line 3: https://example.org/a.png is a URL; download it, and give the file."]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_lists_that_programs_of_windows_write(both, encoding, suffix):
    """Excel and PowerShell write byte order marks, and Excel writes Unicode text as UTF-16 with tabs."""
    for folder in TASK.folders:
        image(both / folder / "scène.png")
    rows = [["a", "b"], [r"ir\scène.png", "vis/scène.png"]]
    separator = "\t" if suffix == ".tsv" else ";"
    lines = [json.dumps(dict(zip(*rows, strict=True)))] if suffix == ".jsonl" else map(separator.join, rows)
    text = "".join(f"{line}\r\n" for line in lines)
    mark = "\ufeff" if encoding.startswith("utf-16") else ""
    (both / f"pairs{suffix}").write_bytes((mark + text).encode(encoding))
    found = read_list(both / f"pairs{suffix}", both / "out")
    assert [job.a for job in found.pairs] == [both / "ir" / "scène.png"]
    assert found.unmatched == []


@pytest.mark.parametrize(("encoding", "cut"), [("cp1252", 0), ("utf-16", 1)])
def test_lists_in_other_encodings_are_refused_with_advice(both, encoding, cut):
    content = "a,b\r\nir/scène.png,vis/scène.png\r\n".encode(encoding)
    (both / "pairs.csv").write_bytes(content[: len(content) - cut])
    with pytest.raises(PictureError, match=r"save it again as UTF-8, which Excel calls CSV UTF-8\.$"):
        read_list(both / "pairs.csv", both / "out")


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("start", ["a;b\n", "sep=;\na;b\n", "a\tb\n", "\ufeffa , b\n"])
def test_lists_of_other_programs_are_read(both, start, suffix):
    delimiter = next(mark for mark in ";\t," if mark in start.splitlines()[-1])
    path = both / f"list{suffix}"
    path.write_text(start + delimiter.join([r"ir\scene.png", r"vis\scene.png"]) + "\n", encoding="utf-8")
    (job,) = read_list(path, both / "out").pairs
    assert job.a == both / "ir" / "scene.png"
    (row,) = load_pairs(path, TASK).dataset
    assert row["name"] == "scene"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", "A,B,Output\nir/scene.png,vis/scene.png,1.png\n"),
        ("list.jsonl", '{"A": "ir/scene.png", "B": "vis/scene.png", "OUTPUT": "1.png"}\n'),
        ("list.csv", "a,b,A,output\nir/scene.png,vis/scene.png,other.png,1.png\n"),
    ],
)
def test_the_columns_of_a_list_may_be_in_upper_case(both, name, content):
    (both / name).write_text(content)
    (job,) = read_list(both / name, both / "out").pairs
    assert (job.name, job.a, job.b) == ("1.png", both / "ir" / "scene.png", both / "vis" / "scene.png")
    assert [row["name"] for row in load_pairs(both / name, TASK).dataset] == ["1"]


@pytest.mark.parametrize("empty", ['{"a": null, "b": "vis/scene.png"}', '{"a": "ir/scene.png"}', '{"a": "", "b": ""}'])
def test_a_row_of_a_list_without_a_file_fails_and_the_others_go_on(both, empty):
    path = both / "list.jsonl"
    path.write_text('{"a": "ir/scene.png", "b": "vis/scene.png"}\n' + empty + "\n")
    found = read_list(path, both / "out")
    assert len(found.pairs) == 1
    assert "list.jsonl, line 2" in found.unmatched[0]
    assert len(load_pairs(path, TASK, skip_bad=True).dataset) == 1
    with pytest.raises(DataError, match="missing"):
        load_pairs(path, TASK)


def test_a_missing_file_of_a_list_is_named_with_its_folder(both):
    path = both / "list.csv"
    path.write_text("a,b\nir/gone.png,vis/scene.png\n")
    with pytest.raises(
        DataError, match=re.escape(f"There is no file gone.png; check the path {both / 'ir/gone.png'}.")
    ):
        load_pairs(path, TASK)


@pytest.mark.parametrize("odd", ["ir/\0.png", "ir/\ud800.png", 5])
def test_a_row_that_can_name_no_file_fails_and_the_others_go_on(both, odd):
    path = both / "list.jsonl"
    rows = [{"a": odd, "b": "vis/scene.png"}, {"a": "ir/scene.png", "b": "vis/scene.png"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = read_list(path, both / "out")
    assert len(found.pairs) == 1
    assert found.unmatched == ["list.jsonl, line 1: a must name a file; the columns are a, b and output."]
    assert len(load_pairs(path, TASK, skip_bad=True).dataset) == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("list.csv", "ir,vis\nir/scene.png,vis/scene.png\n", "has the columns ir, vis, but it needs a and b"),
        ("list.csv", ",".join(f"c{i}" for i in range(100_000)), r"^.{,300}, but it needs a and b\.$"),
        ("list.jsonl", "[" * 100_000, "line 1 is not a row: it is nested too deeply"),
    ],
)
def test_a_list_that_cannot_be_one_is_refused(both, name, content, words):
    (both / name).write_text(content)
    with pytest.raises(PictureError, match=words):
        read_list(both / name, both / "out")


@pytest.mark.parametrize("below", ["ir/2.png,vis/2.png", '"ir/2.png","vis/2.png"', '"ir/2.png,vis/2.png'])
@pytest.mark.parametrize("start", ["a,b", "sep=,\na,b"])
def test_a_quote_that_is_not_closed_is_named_by_its_line(both, start, below):
    """In place of one failed row that holds all those below it."""
    (both / "list.csv").write_text(f'{start}\nir/scene.png,vis/scene.png\n\nir/1.png,"vis/1.png\n{below}\n{below}\n')
    line = start.count("\n") + 4
    for read in (lambda path: read_list(path, both / "out"), lambda path: open_source(path, TASK)):
        with pytest.raises(PictureError, match=rf"list\.csv, line {line}: a quote is opened and not closed"):
            read(both / "list.csv")


def parquet(path: Path, *rows: tuple[bytes | None, bytes | None]) -> Path:
    columns = [[None if row[i] is None else {"bytes": row[i], "path": None} for row in rows] for i in range(2)]
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    pq.write_table(pa.table({name: pa.array(c, kind) for name, c in zip("ab", columns, strict=True)}), path)
    return path


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("missing", [(None, b"x"), (b"x", None), (None, None)])
def test_a_row_of_a_table_without_an_image_fails_and_the_others_go_on(both, missing, streaming):
    content = (both / "ir" / "scene.png").read_bytes()
    row = tuple(value and content for value in missing)
    path = parquet(both / "[v2] set" / "x.parquet", (content, content), row, (content, content))
    pairs = load_pairs(path, TASK, skip_bad=True, streaming=streaming)
    if not streaming:
        assert len(pairs.dataset) == 2
        assert "of row 1 is missing" in pairs.skipped[0]
        return
    rows = list(pairs.dataset)
    assert read_row(rows[2])[0].shape == (48, 64)
    with pytest.raises(PictureError, match="of row 1 is missing"):
        read_row(rows[1])


@pytest.mark.parametrize("names", [["train_0", "test_1"], ["test_0", "test_1"], ["scene [0]", "scene [1]"]])
def test_an_imagefolder_is_read_whatever_its_files_are_called(tmp_path, names):
    folder = tmp_path / "[b] val"
    for name in names:
        image(folder / f"{name}_ir.png")
        image(folder / f"{name}_vis.png")
    rows = [{"a_file_name": f"{name}_ir.png", "b_file_name": f"{name}_vis.png"} for name in names]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(load_pairs(folder, TASK).dataset) == 2


def test_an_imagefolder_opens_no_file_outside_of_it(both):
    image(both / "set" / "0.png")
    row = {"a_file_name": "0.png", "b_file_name": "../ir/scene.png"}
    (both / "set" / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"line 1: scene\.png lies outside of the folder set"):
        load_pairs(both / "set", TASK)
