"""Pairs from every kind of source, what is refused, and the crops."""

import json
import re
import shutil

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from support.bulk import png, write_splits
from support.scenes import textured

from refusion.images import PictureError, read_picture
from refusion.pairs.content import lack_of
from refusion.pairs.dataset import load_pairs, picture_files, read_row
from refusion.pairs.errors import DataError
from refusion.pairs.sources import open_source
from refusion.tasks import TASKS, get_task
from refusion.training.crops import CropBatches, CropTransform, PairReader, exchange

IR_VIS = get_task("ir-vis")


def rows_of(pairs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {row["name"]: read_row(row) for row in pairs.dataset}


def test_two_folders_are_matched_by_stem(pair_folder):
    Image.open(pair_folder / "vis" / "scene3.png").save(pair_folder / "vis" / "scene3.bmp")
    (pair_folder / "vis" / "scene3.png").unlink()
    rows = rows_of(load_pairs(pair_folder, IR_VIS))
    assert sorted(rows) == [f"scene{i}" for i in range(6)]
    np.testing.assert_allclose(rows["scene3"][0] * 255, textured(3), atol=1e-4)
    np.testing.assert_allclose(rows["scene3"][1] * 255, textured(103), atol=1e-4)


def test_imagefolder_parquet_and_streaming_give_the_same_rows(pair_folder, tmp_path):
    expected = rows_of(load_pairs(pair_folder, IR_VIS))
    lines = [
        json.dumps({"a_file_name": f"ir/scene{i}.png", "b_file_name": f"vis/scene{i}.png", "name": f"scene{i}"})
        for i in range(6)
    ]
    folder = tmp_path / "imagefolder"
    shutil.copytree(pair_folder, folder)
    (folder / "ir").rename(folder / "first")
    (folder / "metadata.jsonl").write_text("\n".join(lines).replace("ir/", "first/"))
    pictures = datasets.Features({"a": datasets.Image(), "b": datasets.Image(), "name": datasets.Value("string")})
    table = {"a": [], "b": [], "name": []}
    for i in range(6):
        for column, side in (("a", "ir"), ("b", "vis")):
            content = (pair_folder / side / f"scene{i}.png").read_bytes()
            table[column].append({"bytes": content, "path": f"scene{i}.png"})
        table["name"].append(f"scene{i}")
    dataset = datasets.Dataset.from_dict(table, features=pictures)
    dataset.to_parquet(tmp_path / "pairs.parquet")
    named = dataset.rename_columns({"a": "ir", "b": "vis"})
    named.to_parquet(tmp_path / "named.parquet")
    named.remove_columns("name").add_column("a", ["other"] * 6).to_parquet(tmp_path / "unnamed.parquet")
    for source in (folder, *(tmp_path / f"{name}.parquet" for name in ("pairs", "named", "unnamed"))):
        for streaming in (False, True):
            rows = rows_of(load_pairs(source, IR_VIS, streaming=streaming))
            assert sorted(rows) == sorted(expected)
            for name, pair in expected.items():
                np.testing.assert_array_equal(rows[name], pair)


def test_a_row_of_parquet_opens_no_file_of_this_machine(tmp_path):
    """Not even one that has a column of the name that marks rows of folders."""
    (tmp_path / "elsewhere.png").write_bytes(png(textured(1)))
    path, content = {"bytes": None, "path": str(tmp_path / "elsewhere.png")}, {"bytes": png(textured(2)), "path": None}
    rows = [{"name": "named", "a": path, "b": content}, {"name": "held", "a": content, "b": content}]
    source = tmp_path / "pairs.parquet"
    for more in ({}, {"files": "any"}, {"files": "cache"}):
        pq.write_table(pa.Table.from_pylist([row | more for row in rows]), source)
        with pytest.raises(DataError, match="The image a of named is only a path; the data set must contain the bytes"):
            load_pairs(source, IR_VIS)
        assert load_pairs(source, IR_VIS, skip_bad=True).dataset["name"][:] == ["held"]
        with pytest.raises(PictureError, match="only a path"):
            rows_of(load_pairs(source, IR_VIS, streaming=True))


@pytest.mark.parametrize("kind", [datasets.Image(), datasets.Value("string")])
def test_parquet_of_paths_says_how_to_embed_the_images(pair_folder, tmp_path, monkeypatch, kind):
    """Once, before anything is loaded, in the same words for all commands; and what it says works."""
    monkeypatch.chdir(tmp_path)
    sides = {"a": "ir", "b": "vis"}
    table = {key: [str(pair_folder / side / f"scene{i}.png") for i in range(6)] for key, side in sides.items()}
    named = datasets.Dataset.from_dict(table, features=datasets.Features({"a": kind, "b": kind}))
    named.to_parquet("named.parquet")
    said = set()
    for skip_bad in (False, True):
        for streaming in (False, True):
            with pytest.raises(DataError) as refusal:
                load_pairs("named.parquet", IR_VIS, skip_bad=skip_bad, streaming=streaming)
            said.add(str(refusal.value))
    with pytest.raises(DataError) as refusal:
        open_source("named.parquet", IR_VIS)
    said.add(str(refusal.value))
    (sentence,) = said
    assert sentence.startswith("The images in named.parquet are only paths; the data set must contain the bytes")
    assert sentence.count("only paths") == 1
    first, then = sentence.removesuffix(".").partition("again with them: ")[2].split(" of datasets embeds them, then ")
    eval(first, {"dataset": named, "datasets": datasets})
    eval(then, {"load_from_disk": datasets.load_from_disk})
    shutil.move(pair_folder, tmp_path / "moved")
    assert len(rows_of(load_pairs("pairs.parquet", IR_VIS))) == 6
    assert open_source("pairs.parquet", IR_VIS).total == 6


def test_a_column_of_paths_beside_one_of_images_is_named(tmp_path):
    content, path = {"bytes": png(textured(1)), "path": "x.png"}, {"bytes": None, "path": "x.png"}
    source = tmp_path / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist([{"a": content, "b": path}, {"a": content, "b": path}]), source)
    for opening in (load_pairs, open_source):
        with pytest.raises(DataError, match=r"The images in the column b of pairs\.parquet are only paths"):
            opening(source, IR_VIS)


def test_one_image_among_paths_is_enough_to_tell_rows_apart(tmp_path):
    """Also in the second of two files."""
    content, path = {"bytes": png(textured(1)), "path": "x.png"}, {"bytes": None, "path": "x.png"}
    schema = datasets.Features({"a": datasets.Image(), "b": datasets.Image()}).arrow_schema
    for number, image in enumerate((path, content)):
        pq.write_table(pa.Table.from_pylist([{"a": content, "b": image}], schema), tmp_path / f"{number}.parquet")
    assert open_source(tmp_path, IR_VIS).total == 2
    assert len(load_pairs(tmp_path, IR_VIS, skip_bad=True).dataset) == 1


def test_a_row_of_the_hub_opens_only_what_was_stored_from_it(tmp_path, monkeypatch):
    for folder in ("cache", "elsewhere"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(png(textured(1)))
    for setting in ("HF_DATASETS_CACHE", "HF_CACHE_HOME"):
        monkeypatch.setattr(datasets.config, setting, tmp_path / "cache")
    stored, other = ({"bytes": None, "path": f"{tmp_path}/{way}/x.png"} for way in ("cache", "cache/../elsewhere"))
    row = {"name": "x", "files": "cache", "a": stored, "b": stored}
    assert picture_files(row) == (tmp_path / "cache" / "x.png",) * 2
    with pytest.raises(PictureError, match="The image b of x is only a path"):
        picture_files(row | {"b": other})


def test_unmatched_unequal_and_unreadable_files_are_named(pair_folder):
    (pair_folder / "vis" / "scene1.png").unlink()
    with pytest.raises(DataError, match=r"scene1\.png in ir has no partner in vis"):
        load_pairs(pair_folder, IR_VIS)
    Image.fromarray(textured(9, 40, 40)).save(pair_folder / "vis" / "scene1.png")
    with pytest.raises(DataError, match=r"scene1\.png.*64 x 48.*40 x 40"):
        load_pairs(pair_folder, IR_VIS)
    (pair_folder / "vis" / "scene1.png").write_bytes((pair_folder / "vis" / "scene2.png").read_bytes()[:300])
    with pytest.raises(DataError, match=r"scene1\.png"):
        load_pairs(pair_folder, IR_VIS)


def test_skip_bad_goes_on_and_lists(pair_folder):
    (pair_folder / "vis" / "scene1.png").unlink()
    (pair_folder / "ir" / "scene2.png").write_bytes(b"no picture")
    Image.fromarray(textured(9, 40, 40)).save(pair_folder / "vis" / "scene3.png")
    pairs = load_pairs(pair_folder, IR_VIS, skip_bad=True)
    assert pairs.dataset["name"][:] == ["scene0", "scene4", "scene5"]
    assert len(pairs.skipped) == 3
    for name in ("scene1", "scene2", "scene3"):
        assert sum(name in sentence for sentence in pairs.skipped) == 1


def test_streaming_skips_bad_rows_only_when_asked(pair_folder):
    (pair_folder / "ir" / "scene2.png").write_bytes(b"no picture")
    strict = load_pairs(pair_folder, IR_VIS, streaming=True)
    with pytest.raises(ValueError, match=r"scene2\.png"):
        list(PairReader(strict).stream(seed=0))
    lenient = load_pairs(pair_folder, IR_VIS, streaming=True, skip_bad=True)
    reader = PairReader(lenient)
    for seed in range(2):
        assert len(list(reader.stream(seed))) == 5
        assert len(lenient.skipped) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "nowhere", "no folder or file"),
        (lambda path: path, "neither the folders ir and vis"),
    ],
)
def test_a_source_that_holds_nothing_is_refused(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        load_pairs(make(tmp_path), IR_VIS)


def test_a_flat_folder_is_refused_with_advice_that_works(tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    for index, name in enumerate(("1_ir.png", "1_vis.png")):
        Image.fromarray(textured(index, 16, 20)).save(folder / name)
    with pytest.raises(DataError) as refused:
        load_pairs(folder, IR_VIS)
    found = re.search(r'such as --match "(\S+)" "(\S+)" for infrared and visible, or a list', str(refused.value))
    assert len(load_pairs(folder, IR_VIS, match=found.groups()).dataset) == 1


def test_folders_in_other_layouts_of_datasets_are_refused_with_advice(tmp_path):
    datasets.Dataset.from_dict({"a": [1], "b": [2]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="load it with load_from_disk, and save it with to_parquet"):
        load_pairs(tmp_path / "saved", IR_VIS)
    for split in ("test", "train"):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "images" / split / "metadata.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"metadata\.jsonl is in test and in train: give that folder"):
        load_pairs(tmp_path / "images", IR_VIS)


@pytest.mark.parametrize(
    ("folders", "given", "advice"),
    [
        (
            ["pairs/infrared", "pairs/visible"],
            "pairs",
            "folders infrared and visible: they must be called ir (infrared) and vis (visible).",
        ),
        (["pairs/ir", "pairs/vis"], "pairs/ir", "The folder above it holds ir and vis: give that folder."),
        (["pairs/train/ir", "pairs/train/vis"], "pairs", "ir and vis are in train: give that folder."),
        (["pairs/a/ir", "pairs/a/vis", "pairs/b/ir", "pairs/b/vis"], "pairs", "are in a and in b: give one of them."),
        (
            ["pairs/val/near", "pairs/val/far"],
            "pairs",
            "are in val: give that folder, and choose the task multi-focus.",
        ),
        (["pairs/under", "pairs/over"], "pairs", "the folders of the task multi-exposure: choose that task."),
        (["pairs/one", "pairs/two", "pairs/three"], "pairs", "nor a list (.csv or .jsonl or .tsv)."),
    ],
)
def test_a_folder_with_other_names_is_refused_with_advice(tmp_path, folders, given, advice):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(DataError, match=f"{re.escape(advice)}$"):
        load_pairs(tmp_path / given, IR_VIS)


@pytest.mark.parametrize("streaming", [False, True])
def test_folders_without_a_common_stem_are_refused(pair_folder, streaming):
    for picture in (pair_folder / "vis").iterdir():
        picture.rename(picture.with_stem(f"other-{picture.stem}"))
    with pytest.raises(DataError, match="No file in ir has a partner in vis: they are matched by stem, or by a list"):
        load_pairs(pair_folder, IR_VIS, skip_bad=True, streaming=streaming)


def test_two_files_of_one_stem_are_refused(pair_folder):
    Image.open(pair_folder / "ir" / "scene0.png").save(pair_folder / "ir" / "scene0.jpg")
    with pytest.raises(DataError, match=r"scene0\.jpg and scene0\.png"):
        load_pairs(pair_folder, IR_VIS)


def test_parquet_without_the_columns_is_refused(tmp_path):
    datasets.Dataset.from_dict({"left": [1], "b": [2]}).to_parquet(tmp_path / "wrong.parquet")
    with pytest.raises(DataError, match="left, b; it needs the image columns ir and vis, or a and b"):
        load_pairs(tmp_path / "wrong.parquet", IR_VIS)


@pytest.mark.parametrize("streaming", [False, True])
def test_of_parquet_files_named_after_splits_one_split_is_used(tmp_path, streaming):
    folder = tmp_path / "with [brackets]"
    write_splits(folder, ("train", "test"))
    for split in ("train", "test"):
        pairs = load_pairs(folder, IR_VIS, split=split, streaming=streaming)
        assert [row["name"] for row in pairs.dataset] == [f"of {split}"]
        assert pairs.notes[:1] == [f"Of with [brackets], which has the splits test and train, only {split} is used."]
    with pytest.raises(DataError, match="has no split 'val', but test and train; choose one of them"):
        load_pairs(folder, IR_VIS, split="val")
    (folder / "data" / "train-00000-of-00001.parquet").unlink()
    assert [row["name"] for row in load_pairs(folder, IR_VIS, streaming=streaming).dataset] == ["of test"]
    (folder / "data").rename(folder / ".hidden")
    assert [row["name"] for row in load_pairs(folder, IR_VIS, streaming=streaming).dataset] == ["of test"]


def test_a_split_of_a_data_set_without_splits_is_refused(pair_folder):
    """In place of the pairs of all splits."""
    for load in (load_pairs, open_source):
        with pytest.raises(DataError, match="no split 'test'"):
            load(pair_folder, IR_VIS, split="test")


def test_parquet_is_known_by_its_suffix_in_capitals_and_in_folders_of_that_name(tmp_path):
    """To the training as to the bulk fusion."""
    row = {
        "name": "scene",
        "a": {"bytes": png(textured(1)), "path": None},
        "b": {"bytes": png(textured(2)), "path": None},
    }
    folder = tmp_path / "set.parquet"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist([row]), folder / "PART-0.PARQUET")
    for source in (folder, folder / "PART-0.PARQUET"):
        assert load_pairs(source, IR_VIS).dataset["name"][:] == ["scene"]
        assert open_source(source, IR_VIS).total == 1
    (folder / "PART-0.PARQUET").unlink()
    for read in (load_pairs, open_source):
        with pytest.raises(DataError, match=r"^set\.parquet holds neither the folders ir and vis.*nor Parquet files"):
            read(folder, IR_VIS)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_damaged_parquet_file_among_others_is_named(tmp_path, streaming):
    datasets.Dataset.from_dict({"a": [1], "b": [2]}).to_parquet(tmp_path / "part-0.parquet")
    (tmp_path / "part-1.parquet").write_bytes(b"no table")
    for source in (tmp_path / "part-1.parquet", tmp_path):
        with pytest.raises(DataError, match=r"^part-1\.parquet cannot be read as Parquet"):
            load_pairs(source, IR_VIS, streaming=streaming)


def test_an_imagefolder_that_names_a_missing_file_is_refused(pair_folder):
    row = {"a_file_name": "ir/scene0.png", "b_file_name": "elsewhere.png"}
    (pair_folder / "vis").rename(pair_folder / "second")
    (pair_folder / "metadata.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=r"elsewhere\.png"):
        load_pairs(pair_folder, IR_VIS)


def test_a_source_that_shows_a_single_grey_level_is_flat_whatever_is_transparent():
    shown = np.full((16, 16, 4), 100, np.uint8)
    shown[..., 3] = 255
    shown[:, :8, 3] = 0
    flat, scene = read_picture(shown), read_picture(textured(1, 16, 16))
    assert lack_of(flat, scene) == lack_of(scene, flat) == "flat"
    assert lack_of(scene, read_picture(textured(2, 16, 16))) is None


def test_crops_are_the_same_place_in_both_sources():
    a = np.random.default_rng(0).random((40, 50), dtype=np.float32)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        first, second = CropTransform(16)(a, 1 - a, generator)
        assert first.shape == (1, 16, 16)
        torch.testing.assert_close(first + second, torch.ones(1, 16, 16))


def test_crops_come_in_all_eight_orientations():
    a = np.arange(256, dtype=np.float32).reshape(16, 16) / 255
    generator = torch.Generator().manual_seed(0)
    seen = {CropTransform(16)(a, a, generator)[0].numpy().tobytes() for _ in range(200)}
    assert len(seen) == 8


def test_empty_patches_are_avoided():
    a = np.zeros((200, 200), dtype=np.float32)
    a[:64, :64] = np.random.default_rng(0).random((64, 64))
    generator = torch.Generator().manual_seed(0)
    kept = [CropTransform(32, tries=50)(a, a, generator)[0].std().item() for _ in range(30)]
    taken = [CropTransform(32, tries=1)(a, a, generator)[0].std().item() for _ in range(30)]
    assert sum(x > 0.02 for x in kept) > sum(x > 0.02 for x in taken) + 10


def test_a_patch_with_detail_in_one_source_is_not_empty():
    detailed, flat = np.random.default_rng(0).random((64, 64), dtype=np.float32), np.zeros((64, 64), np.float32)
    for pair, tried in (((detailed, flat), 1), ((flat, detailed), 1), ((flat, flat), 8)):
        assert CropTransform(16).cut(*pair, torch.Generator().manual_seed(0))[2] == tried


def test_pictures_smaller_than_the_crop_are_mirrored():
    a = np.random.default_rng(0).random((20, 64), dtype=np.float32)
    crop, _ = CropTransform(32)(a, a, torch.Generator().manual_seed(0))
    assert crop.shape == (1, 32, 32)
    assert set(crop.unique().tolist()) <= set(a.flatten().tolist())


def test_the_stream_of_batches_repeats_and_resumes(pair_folder):
    def make():
        return CropBatches(PairReader(load_pairs(pair_folder, IR_VIS)), CropTransform(16), 4, seed=3)

    one, other = make(), make()
    for _ in range(3):
        torch.testing.assert_close(next(one), next(other))
    resumed = make()
    resumed.load_state_dict(one.state_dict())
    for _ in range(4):
        torch.testing.assert_close(next(one), next(resumed))


def test_a_pass_shows_every_pair_once(pair_folder):
    batches = CropBatches(PairReader(load_pairs(pair_folder, IR_VIS)), CropTransform(48), 6, seed=0)
    a, _ = next(batches)
    means = sorted(round(x.mean().item(), 3) for x in a)
    assert len(set(means)) > 3
    assert sorted(batches.state_dict()["order"]) == list(range(6))


def test_cached_and_uncached_readers_agree(pair_folder):
    pairs = load_pairs(pair_folder, IR_VIS)
    cached, uncached = PairReader(pairs), PairReader(pairs, cache_bytes=0)
    for index in (0, 1, 0):
        np.testing.assert_array_equal(cached[index], uncached[index])
        np.testing.assert_allclose(cached[index], read_row(pairs.dataset[index]), atol=1e-5)


def test_no_more_is_kept_in_memory_than_asked_for(pair_folder):
    pairs = load_pairs(pair_folder, IR_VIS)
    reader = PairReader(pairs, cache_bytes=2 * 2 * 48 * 64)  # a pair, in 16 bits
    kept, _ = reader[0], reader[1]
    shutil.rmtree(pair_folder)
    np.testing.assert_array_equal(reader[0], kept)
    with pytest.raises(PictureError, match="scene1"):
        reader[1]


@pytest.mark.parametrize("streaming", [False, True])
def test_every_pass_has_an_order_of_its_own(pair_folder, streaming):
    for file in pair_folder.glob("*/*.png"):
        Image.new("L", (16, 16), 40 * int(file.stem[-1])).save(file)
    pairs = load_pairs(pair_folder, IR_VIS, streaming=streaming)
    batches = CropBatches(PairReader(pairs), CropTransform(16), 6, seed=0)
    first, second = ([x.mean().item() for x in next(batches)[0]] for _ in range(2))
    assert sorted(first) == sorted(second) == pytest.approx([40 * index / 255 for index in range(6)], abs=1e-4)
    assert first != second


def test_exchange_appends_the_swapped_batch():
    a, b = torch.rand(2, 3, 1, 8, 8)
    first, second = exchange(a, b)
    assert torch.equal(first, torch.cat((a, b)))
    assert torch.equal(second, torch.cat((b, a)))


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_the_shared_pairs_load(shared, task):
    folder = shared / "data" / task.name.replace("-", "_") / "val"
    pairs = load_pairs(folder, task)
    assert len(pairs.dataset) >= 10
    assert pairs.skipped == []
