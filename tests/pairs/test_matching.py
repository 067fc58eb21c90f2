"""Which files belong together, the same for folders, data sets, folders of fused images and the demo; none vanishes."""

import csv
import json
import os
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.console import Console
from support.command import refusion
from support.pairs import image
from support.scenes import textured

from refusion.demo.batch import match as match_uploads
from refusion.images import PictureError, read_picture
from refusion.images.naming import told_apart
from refusion.pairs.dataset import fingerprint, load_pairs, read_row, source_files
from refusion.pairs.errors import DataError
from refusion.pairs.fused_folder import FusedFolder
from refusion.pairs.jobs import match_folders, read_list
from refusion.pairs.sources import open_source
from refusion.system.processes import ALONE
from refusion.tasks import get_task
from refusion.training.data import pairs_of
from refusion.training.flags import make_parser

TASK = get_task("ir-vis")


def jobs(data: Path, **given):
    return match_folders(data / "ir", data / "vis", data / "out", **given)


def names_everywhere(data: Path) -> list[str]:
    """Names of the pairs, the same in folders and in data sets."""
    names = [job.name for job in jobs(data).pairs]
    assert [row["name"] for row in load_pairs(data, TASK, skip_bad=True, streaming=True).dataset] == names
    return names


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        *((".jfif", "JPEG"), (".jpe", "JPEG"), (".dib", "BMP"), (".JPG", "JPEG"), (".mpo", "JPEG"), (".tiff", "TIFF")),
        *((".gif", "GIF"), (".jp2", "JPEG2000"), (".pgm", "PPM"), (".pnm", "PPM"), (".jxl", "JPEG XL")),
    ],
)
def test_every_suffix_of_an_image_that_is_read_is_taken(both, suffix, kind):
    for folder in TASK.folders:
        image(both / folder / f"more{suffix}", kind)
    assert names_everywhere(both) == ["more", "scene"]
    assert len(load_pairs(both, TASK).dataset) == 2


@pytest.mark.parametrize(("suffix", "kind"), [(".ico", "ICO"), (".tga", "TGA")])
def test_an_image_that_is_not_read_fails_by_its_name(both, suffix, kind):
    for folder in TASK.folders:
        image(both / folder / f"more{suffix}", kind)
    assert names_everywhere(both) == ["more", "scene"]
    with pytest.raises(DataError, match=rf"more\{suffix}"):
        load_pairs(both, TASK)
    assert f"more{suffix}" in load_pairs(both, TASK, skip_bad=True).skipped[0]


def test_dicom_files_have_no_suffix(both):
    pydicom = pytest.importorskip("pydicom")
    for folder in TASK.folders:
        for name in ("IM0001", "1.2.840.7", "1.2.840.8"):
            meta = pydicom.dataset.FileMetaDataset()
            meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.7"
            meta.MediaStorageSOPInstanceUID = "1.2.3"
            dataset = pydicom.dataset.FileDataset(name, {}, file_meta=meta, preamble=bytes(128))
            pixels = textured(3)
            dataset.Rows, dataset.Columns = pixels.shape
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
            dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
            dataset.PixelData = pixels.tobytes()
            dataset.save_as(both / folder / name)
        (both / folder / "README").write_text("about these files")
        (both / folder / "clip.MP4").touch()
    assert names_everywhere(both) == ["1.2.840.7", "1.2.840.8", "IM0001", "scene"]
    assert [note.partition(", since each ")[2] for note in jobs(both).notes] == 2 * [
        "does not have the suffix of an image: README.",
        "is a video, and videos are fused two at a time, given by their names: clip.MP4.",
    ]


def test_two_files_of_one_name_are_left_out_with_their_partner_and_the_others_are_fused(both):
    for file in ("ir/double.png", "ir/double.jpg", "vis/double.png"):
        image(both / file)
    found = jobs(both)
    assert [job.name for job in found.pairs] == ["scene"]
    assert found.unmatched == [
        "double.jpg in ir has the same name as double.png; keep only one of them",
        "double.png in ir has the same name as double.jpg; keep only one of them",
        "double.png in vis has two partners, double.jpg and double.png in ir; keep only one of them",
    ]
    batch = match_uploads(sorted((both / "ir").iterdir()), sorted((both / "vis").iterdir()), TASK)
    assert [name for name, _ in batch.pairs] == ["scene"]
    assert [name for name, _ in batch.failed] == ["double.jpg", "double.png", "double.png"]
    with pytest.raises(DataError, match=r"ir holds both double\.jpg and double\.png; keep only one of them"):
        load_pairs(both, TASK)


def test_names_that_differ_only_in_case_are_said(both, tmp_path):
    image(both / "ir" / "sub" / "IMG_1.JPG")
    image(both / "vis" / "sub" / "img_1.jpg")
    assert jobs(both).unmatched == [
        "sub/IMG_1.JPG in ir has no partner in vis; sub/img_1.jpg differs in upper and lower case: rename one of them",
        "sub/img_1.jpg in vis has no partner in ir; sub/IMG_1.JPG differs in upper and lower case: rename one of them",
    ]
    (both / "pairs.csv").write_text("a,b\nir/sub/img_1.jpg,vis/sub/img_1.jpg\n")
    with pytest.raises(
        PictureError, match=r"no file img_1\.jpg, but IMG_1\.JPG, which differs in upper and lower case"
    ):
        read_picture(read_list(both / "pairs.csv", both / "out").pairs[0].a)
    image(tmp_path / "fused" / "SCENE.png")
    with pytest.raises(PictureError, match=r"as in scene\.png\. SCENE\.png differs in upper and lower case\."):
        FusedFolder(tmp_path / "fused").find("scene")


def test_a_broken_link_is_named_with_where_it_leads(both):
    for folder in TASK.folders:
        (both / folder / "annexed.png").symlink_to("../.git/annex/objects/not-fetched.png")
    found = jobs(both)
    assert [job.name for job in found.pairs] == ["scene"]
    assert len(found.unmatched) == 2
    assert (
        "annexed.png in ir is a link to ../.git/annex/objects/not-fetched.png, which does not exist"
        in (found.unmatched[0])
    )
    assert load_pairs(both, TASK, skip_bad=True).skipped == found.unmatched
    with pytest.raises(DataError, match="which does not exist"):
        load_pairs(both, TASK)


def test_hidden_files_and_texts_are_left_out_with_a_word_and_stop_nothing(both):
    for folder in TASK.folders:
        (both / folder / "._scene.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(100))
        (both / folder / "Thumbs.db").write_bytes(b"x")
        for number in range(5):
            (both / folder / f"scene{number}.txt").write_text("a label")
    found, pairs = jobs(both), load_pairs(both, TASK)
    assert found.unmatched == []
    assert len(pairs.dataset) == 1
    assert pairs.skipped == []
    assert found.notes == pairs.notes
    told = " ".join(found.notes)
    assert "Skipped in ir, since each is a hidden file: ._scene.png." in told
    assert (
        "Skipped in vis, since each does not have the suffix of an image: Thumbs.db, scene0.txt, scene1.txt and 3 more."
        in told
    )


def test_names_with_accents_taken_apart_are_the_same_names(both):
    name = "K\u00f6ln \u00e9t\u00e9"
    image(both / "ir" / f"{unicodedata.normalize('NFD', name)}.png")
    image(both / "vis" / f"{name}.png")
    assert names_everywhere(both) == [name, "scene"]
    fused = FusedFolder(both / "ir")
    assert fused.find(name) == fused.find(unicodedata.normalize("NFD", name))
    for form in ("NFC", "NFD"):
        spelt = unicodedata.normalize(form, name)
        (both / "pairs.csv").write_text(f"a,b\nir/{spelt}.png,vis/{spelt}.png\n")
        (listed,) = read_list(both / "pairs.csv", both / "out").pairs
        assert listed.a.exists()
        assert listed.b.exists()


def test_folders_in_folders_are_matched_by_the_way_to_them(both):
    for way in ("day/0.png", "night/0.png", "day/[1] east/1.png"):
        image(both / "ir" / way)
        image(both / "vis" / way)
    image(both / "ir" / ".trash" / "0.png")
    assert names_everywhere(both) == ["day/0", "day/[1] east/1", "night/0", "scene"]
    assert jobs(both).pairs[0].output == both / "out" / "day" / "0.png"
    assert FusedFolder(both / "ir").find("night/0") == both / "ir" / "night" / "0.png"


def test_files_that_are_left_out_are_named_with_their_sub_folders(both):
    for day in ("d1", "d2"):
        image(both / "ir" / day / "alone.png")
        image(both / "ir" / day / "twice.png")
        image(both / "ir" / day / "twice.jpg")
        (both / "ir" / day / "label.txt").write_text("a label")
    found, source = jobs(both), open_source(both, TASK)
    assert found.unmatched == list(source.left_out) == load_pairs(both, TASK, skip_bad=True).skipped
    assert {one.partition(" in ")[0] for one in found.unmatched} == {
        f"{day}/{name}" for day in ("d1", "d2") for name in ("alone.png", "twice.png", "twice.jpg")
    }
    assert found.notes == [
        "Skipped in ir, since each does not have the suffix of an image: d1/label.txt, d2/label.txt."
    ]
    with pytest.raises(DataError, match=r"ir holds both d1/twice\.jpg and d1/twice\.png"):
        load_pairs(both, TASK)


def test_results_within_a_source_folder_are_no_sources(tmp_path):
    for name in ("1_ir.png", "1_vis.png", "odd.png", "fused/1.png"):
        image(tmp_path / name)
    found = match_folders(tmp_path, tmp_path, tmp_path / "fused", patterns=("*_ir.*", "*_vis.*"))
    assert [(job.name, job.a.name, job.b.name) for job in found.pairs] == [("1", "1_ir.png", "1_vis.png")]
    assert found.unmatched == []
    assert "odd.png" in " ".join(found.notes)
    assert "_vis.png" not in " ".join(found.notes)
    for name in ("a/1.png", "b/1.png", "a/fused/1.png"):
        image(tmp_path / "two" / name)
    of_two = match_folders(tmp_path / "two/a", tmp_path / "two/b", tmp_path / "two/a/fused")
    assert ([job.name for job in of_two.pairs], of_two.unmatched) == (["1"], [])


def in_one_folder(folder: Path, *patterns: str):
    return match_folders(folder, folder, folder / "out", patterns=patterns)


def test_a_file_that_nearly_matches_a_pattern_is_left_out_with_the_reason(tmp_path):
    for name in ("IR.png", "VIS.png", "IR2.png", "VIS2.png", "ir3.png", "other.png", "IR4.png"):
        image(tmp_path / name)
    (tmp_path / "ir5.txt").write_text("a label")
    found = in_one_folder(tmp_path, "IR*.png", "VIS*.png")
    assert [job.name for job in found.pairs] == ["2"]
    told = [sentence.replace(f" in {tmp_path.name}", "") for sentence in found.unmatched]
    nothing = "which must stand for at least one character"
    assert told == [
        f"IR.png leaves nothing for the * of IR*.png, {nothing}",
        f"VIS.png leaves nothing for the * of VIS*.png, {nothing}",
        "ir3.png does not match IR*.png, but differs only in upper and lower case",
        "IR4.png has no partner that matches VIS*.png",
    ]
    assert found.notes == [
        f"Skipped in {tmp_path.name}, since each matches neither IR*.png nor VIS*.png: ir5.txt, other.png."
    ]


def test_results_of_patterns_do_not_have_the_suffix_of_the_sources(tmp_path):
    for name in ("0.JPG", "1.JPG", "1.png"):
        for start in ("IRX", "MAX"):
            image(tmp_path / f"{start}_{name}", "JPEG" if "JPG" in name else "PNG")
    found = in_one_folder(tmp_path, "IRX_*", "MAX_*")
    assert [job.output.name for job in found.pairs] == ["0.png", "1.JPG.png", "1.png.png"]


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (("ir/*", "vis/*"), r"The pattern ir/\* has a folder in it, but only the names of files are matched"),
        (("*_IR.png", "*_VIS.png"), r"differs only in upper and lower case"),
        (("1*.png", "2*.png"), r"that matches 1\*\.png has a partner there that matches 2\*\.png: the \* must stand"),
    ],
)
def test_patterns_without_a_pair_are_refused_with_the_reason(tmp_path, patterns, words):
    for name in ("1_ir.png", "2_vis.png"):
        image(tmp_path / name)
    with pytest.raises(PictureError, match=words):
        in_one_folder(tmp_path, *patterns)


def test_a_raw_file_beside_its_photograph_is_not_a_second_one(both):
    (both / "vis" / "scene.CR2").write_bytes(b"raw")
    assert names_everywhere(both) == ["scene"]
    assert "scene.CR2" in " ".join(jobs(both).notes)


def test_uploads_are_matched_alike(both):
    image(both / "ir" / "yard_ir.png")
    image(both / "vis" / "yard_vis.png")
    image(both / "vis" / "alone.png")
    batch = match_uploads(sorted((both / "ir").iterdir()), sorted((both / "vis").iterdir()), TASK)
    assert [name for name, _ in batch.pairs] == ["scene", "yard"]
    assert [name for name, _ in batch.failed] == ["alone.png"]


def test_two_files_of_one_name_are_told_apart_by_their_folders(both):
    (both / "vis" / "scene.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"vis/scene\.png is an empty file"):
        load_pairs(both, TASK)
    files = ["one/ir/x.png", "one/vis/x.png"], ["a/ir/x.png", "b/ir/x.png"], ["a/x.png", "a/y.png"], ["x.png", "x.png"]
    names = ["ir/x.png", "vis/x.png"], ["a/ir/x.png", "b/ir/x.png"], ["x.png", "y.png"]
    assert (*map(told_apart, files[:3]),) == names
    assert told_apart(files[3]) == ["x.png (first)", "x.png (second)"]


def test_two_names_that_differ_only_in_how_accents_are_stored_are_told_apart(tmp_path):
    one, other = (unicodedata.normalize(form, "\u00e9.png") for form in ("NFC", "NFD"))
    assert told_apart([one, other]) == [f"{one} (first)", f"{other} (second)"]
    assert told_apart([f"ir/{one}", f"vis/{other}"]) == [f"ir/{one}", f"vis/{other}"]


NAMES = ["two\nlines", " leading", "trailing ", "-dash", "100%", "[0]", "a\u2028b", "..dots"]


@pytest.mark.parametrize("name", NAMES if os.sep == "\\" else [*NAMES, "back\\slash"])
def test_unusual_names_are_matched_and_listed(both, name):
    for folder in TASK.folders:
        image(both / folder / f"{name}.png")
    if not name.startswith("."):
        assert [job.name for job in jobs(both).pairs] == sorted([name, "scene"])
    with (both / "list.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["a", "b"], [f"ir/{name}.png", f"vis/{name}.png"]])
    (both / "list.jsonl").write_text(
        json.dumps({"a": f"ir/{name}.png", "b": f"vis/{name}.png"}, ensure_ascii=False), encoding="utf-8"
    )
    for path in (both / "list.csv", both / "list.jsonl"):
        (job,) = read_list(path, both / "out").pairs
        assert (job.a, job.b) == (both / "ir" / f"{name}.png", both / "vis" / f"{name}.png")
        assert len(load_pairs(path, TASK).dataset) == 1


def test_a_loop_of_links_is_one_file_that_is_left_out(both):
    loop = both / "ir" / "loop.png"
    loop.symlink_to(loop)
    (both / "ir" / "round").symlink_to(both / "ir")
    found = jobs(both)
    assert [job.name for job in found.pairs] == ["scene"]
    assert f"loop.png in ir is a link to {loop}, which leads nowhere; remove the link" in found.unmatched


def test_linked_folders_are_entered_as_others_are(both, tmp_path):
    """At any depth; what cannot be taken from them is named."""
    for folder in TASK.folders:
        image(tmp_path / "disk" / folder / "day" / "deep" / "0.png")
        (tmp_path / "disk" / folder / "day" / "gone.png").symlink_to("nowhere.png")
        for name in ("linked", "again"):
            (both / folder / name).symlink_to(tmp_path / "disk" / folder)
    assert names_everywhere(both) == ["again/day/deep/0", "linked/day/deep/0", "scene"]
    broken = [sentence for sentence in jobs(both).unmatched if "gone.png in ir is a link to nowhere.png" in sentence]
    assert len(broken) == 2


def test_links_to_folders_that_hold_them_are_named_and_not_followed(both):
    (both / "ir" / "sub").mkdir()
    (both / "ir" / "sub" / "round").symlink_to(both / "ir")
    (both / "ir" / "up").symlink_to(both)
    (both / "ir" / "root").symlink_to("/")
    found = jobs(both)
    assert ([job.name for job in found.pairs], found.unmatched) == (["scene"], [])
    assert found.notes == ["Skipped in ir, since each is a link to a folder that holds the link: root, sub/round, up."]


def test_a_hidden_folder_is_named_once(both):
    for number in range(3):
        image(both / "ir" / "sub" / ".hid" / f"{number}.png")
    found = jobs(both)
    assert found.unmatched == []
    assert found.notes == load_pairs(both, TASK).notes == ["Skipped in ir, since each is a hidden folder: sub/.hid."]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have only names in Unicode")
def test_names_that_are_not_utf8_are_taken_and_shown_with_escapes(both):
    odd, good = os.fsdecode(b"odd\xff"), r"odd\udcff"
    for folder in TASK.folders:
        image(both / folder / f"{odd}.png")
    assert [job.name for job in jobs(both).pairs] == [odd, "scene"]
    pairs, source = load_pairs(both, TASK), open_source(both, TASK)
    assert pairs.dataset["name"][:] == [good, "scene"]
    assert read_row(pairs.dataset[0])[0].shape == read_row(pairs.dataset[1])[0].shape
    assert len(fingerprint(pairs)) == 64
    assert both / "ir" / f"{odd}.png" in source_files(both, pairs)
    assert [row.id for part in source.parts(8) for row in source.read(part)] == [good, "scene"]
    assert FusedFolder(both / "ir").find(good) == both / "ir" / f"{odd}.png"
    (both / "ir" / f"{odd}.png").write_bytes(b"no picture")
    image(both / "vis" / f"alone {odd}.png")
    for sentence in load_pairs(both, TASK, skip_bad=True).skipped + jobs(both).unmatched:
        assert good in sentence
        assert odd not in sentence
    (both / "vis" / f"{odd}.png").unlink()
    with pytest.raises(PictureError, match=r"There is no file odd\\udcff"):
        read_picture(both / "vis" / f"{odd}.png")


def test_only_the_command_that_has_patterns_advises_them(both):
    image(both / "mri" / "other.png")
    with pytest.raises(PictureError, match=r"they are matched by stem\. scene\.png in ir has no partner"):
        match_folders(both / "ir", both / "mri", both / "out")
    with pytest.raises(PictureError, match=r"they are matched by stem, or by --match\. scene"):
        match_folders(both / "ir", both / "mri", both / "out", advice=", or by --match")


@pytest.mark.parametrize("patterns", [("*_ir.*", "*_vis.*"), ("IR_*", "VIS_*")], ids=["after", "before"])
def test_patterns_pair_one_folder_alike_for_every_command(tmp_path, patterns):
    data = tmp_path / "data"
    for name in ("x", "y"):
        for pattern in patterns:
            image(data / f"{pattern.removesuffix('.*').replace('*', name)}.png")
    image(data / "other.png")
    fused = [job.name for job in match_folders(data, data, tmp_path / "out", patterns=patterns).pairs]
    assert fused == ["x", "y"]
    for streaming in (False, True):
        pairs = load_pairs(data, TASK, match=patterns, streaming=streaming)
        assert [row["name"] for row in pairs.dataset] == fused
        assert len(pairs.notes) == 1
    source = open_source(data, TASK, match=patterns)
    assert [row.id for part in source.parts(9) for row in source.read(part)] == fused
    output = tmp_path / "fused"
    image(output / "x.png")
    image(output / "y.png")
    scored = ("evaluate", "--data", data, "--task", TASK.name, "--match", *patterns, "--metrics", "SD")
    result = refusion(*scored, "--fused", output)
    assert result.code == 0, result.err
    flags = make_parser().parse_args(["--data", str(data), "--out", str(tmp_path / "run"), "--match", *patterns])
    pairs, _ = pairs_of(flags, TASK, ALONE, Console())
    assert pairs.dataset["name"] == fused


@pytest.mark.parametrize(
    ("name", "patterns", "words"),
    [
        ("data", ("*_ir.*", "*_ir.*"), "Pairs in one folder need two different patterns"),
        ("data", ("*_ir.*", "*_mri.*"), r"No file in data that matches \*_ir\.\* has a partner there that matches"),
        ("data", ("ir", "*_vis.*"), r"needs one \* for the common part"),
        ("pairs.csv", ("*_ir.*", "*_vis.*"), r"--match is for the pairs in a folder, but .*pairs\.csv is none"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(tmp_path, name, patterns, words):
    image(tmp_path / "data" / "x_ir.png")
    image(tmp_path / "data" / "x_vis.png")
    (tmp_path / "pairs.csv").write_text("a,b\nx,y\n")
    with pytest.raises(DataError, match=words):
        load_pairs(tmp_path / name, TASK, match=patterns, skip_bad=True)
    with pytest.raises((DataError, PictureError), match=words):
        open_source(tmp_path / name, TASK, match=patterns)


def test_a_subfolder_that_may_not_be_opened_is_named_and_the_others_go_on(both, monkeypatch):
    image(both / "ir" / "locked" / "other.png")
    (both / "ir" / "way").symlink_to(both / "ir" / "locked")
    scandir = os.scandir

    def refuse(path):
        if Path(path).resolve().name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # Permissions do not hold for root.
    found = jobs(both)
    assert [job.name for job in found.pairs] == ["scene"]
    assert found.unmatched == [
        f"{name} in ir is a folder that cannot be opened (Permission denied)" for name in ("locked", "way")
    ]


@pytest.mark.parametrize("name", ["data/pears", "some/list.csv", "some/set.parquet", "./pears", "a/b/c"])
def test_a_mistyped_path_is_not_looked_for_on_the_hub(tmp_path, monkeypatch, name):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    for read in (load_pairs, open_source):
        with pytest.raises(DataError, match="There is no folder or file"):
            read(name, TASK)
