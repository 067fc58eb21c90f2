"""The table of docs/inputs.md: bad input is one sentence and exit code 2, and nothing is overwritten."""

import os
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import check_refused, refusion, small_model
from support.scenes import textured

from refusion.images import PictureError, read_picture

GOOD = textured(2)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return small_model(tmp_path_factory.mktemp("models") / "model")


def truncated(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"a{suffix}"
        Image.fromarray(textured(1)).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path

    return make


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def sized(width: int, height: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        Image.new("L", (width, height), 90).save(folder / "a.png")
        return folder / "a.png"

    return make


def floats(value: float) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        pixels = (textured(1) / 255).astype(np.float32)
        pixels[3, 3] = value
        Image.fromarray(pixels).save(folder / "a.tif")
        return folder / "a.tif"

    return make


def pages(folder: Path) -> Path:
    Image.fromarray(textured(1)).save(folder / "a.tif", save_all=True, append_images=[Image.fromarray(GOOD)])
    return folder / "a.tif"


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "a.png", "There is no file a.png"),
    "empty": (written("a.png", b""), "a.png is an empty file"),
    "truncated PNG": (truncated(".png"), "a.png cannot be decoded"),
    "truncated JPEG": (truncated(".jpg"), "a.jpg cannot be decoded"),
    "another kind": (written("a.png", b"8BPS, or so"), "a.png is a Photoshop document"),
    "no picture": (written("a.png", b"\xfe\xed these are not pixels"), "a.png is not an image that can be read"),
    "text": (written("a.png", b"these are not pixels"), "a.png is a text file and not an image"),
    "decompression bomb": (written("a.png", bomb(60_000, 60_000)), "Pillow refuses to open a.png"),
    "1 x 1": (sized(1, 1), "a.png is 1 x 1 pixels; an image is at least 8 x 8"),
    "7 x 9": (sized(7, 9), "a.png is 7 x 9 pixels"),
    "1 x 20000": (sized(1, 20_000), "a.png is 1 x 20000 pixels"),
    "NaN": (floats(np.nan), "a.tif has values that are not finite"),
    "infinite": (floats(np.inf), "a.tif has values that are not finite"),
    "floats beyond 1": (floats(900.0), "give a window"),
    "several pages": (pages, "a.tif holds several frames"),
    "another size": (sized(30, 40), "The two sources must show the same scene"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_sources_are_refused_by_a_sentence(model, tmp_path, case):
    make, words = REFUSED[case]
    a, b, output = make(tmp_path), tmp_path / "b.png", tmp_path / "fused.png"
    Image.fromarray(GOOD).save(b)
    output.write_bytes(b"an older picture")
    for pair in ((a, b), (b, a)):
        result = refusion("fuse", *pair, "-o", output, "--model", model)
        assert result.code == 2, result.err
        assert words in result.err
        assert result.err.startswith("refusion: ")
        assert result.err.endswith(".")
        assert "Traceback" not in result.err
    assert output.read_bytes() == b"an older picture"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_folder_beside_a_picture_is_refused(model, tmp_path):
    Image.fromarray(GOOD).save(tmp_path / "b.png")
    check_refused(
        refusion("fuse", tmp_path, tmp_path / "b.png", "-o", tmp_path / "fused.png", "--model", model),
        "is a folder, and",
    )


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_file_that_may_not_be_read():
    with tempfile.TemporaryDirectory() as folder:
        # pytest's own folders are closed to all but their owner.
        Path(folder).chmod(0o755)
        path = Path(folder) / "a.png"
        Image.fromarray(GOOD).save(path)
        path.chmod(0)
        root = os.geteuid() == 0
        if root:
            # Permissions do not bind root, so root becomes nobody for a moment.
            os.seteuid(65534)
        try:
            with pytest.raises(PictureError, match=r"^a\.png cannot be read: Permission denied\.$"):
                read_picture(path)
        finally:
            if root:
                os.seteuid(0)


def test_a_disk_that_fills_up(model, tmp_path):
    resource = pytest.importorskip("resource")
    a, b, output = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "fused.png"
    noise = np.random.default_rng(0).integers(0, 256, (2, 128, 128), dtype=np.uint8)
    for path, pixels in zip((a, b), noise, strict=True):
        Image.fromarray(pixels).save(path)
    output.write_bytes(b"an older picture")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        result = refusion("fuse", a, b, "-o", output, "--model", model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.code == 2
    assert "fused.png cannot be saved" in result.err
    assert output.read_bytes() == b"an older picture"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "fused.png"]


def test_the_output_is_a_source(model, tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(GOOD).save(tmp_path / name)
    before = (tmp_path / "a.png").read_bytes()
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    for output in ("a.png", "b.png", "link.png"):
        check_refused(
            refusion("fuse", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / output, "--model", model),
            "is one of the sources",
        )
    assert (tmp_path / "a.png").read_bytes() == before


def test_the_same_file_twice_is_fused_with_a_warning(model, tmp_path):
    Image.fromarray(GOOD).save(tmp_path / "a.png")
    result = refusion("fuse", tmp_path / "a.png", tmp_path / "a.png", "-o", tmp_path / "f.png", "--model", model)
    assert result.code == 0
    assert "are the same image" in result.err


@pytest.mark.parametrize("task", ["ir-vis", "medical", "multi-focus", "multi-exposure"])
@pytest.mark.parametrize("levels", [(0, 0), (255, 255), (90, 200)])
def test_black_and_constant_pictures(model, tmp_path, task, levels):
    for name, level in zip(("a.png", "b.png"), levels, strict=True):
        Image.new("L", (24, 16), level).save(tmp_path / name)
    output = tmp_path / "fused.png"
    result = refusion("fuse", tmp_path / "a.png", tmp_path / "b.png", "-o", output, "--model", model, "--task", task)
    assert result.code == 0, result.err
    with Image.open(output) as fused:
        assert fused.size == (24, 16)
        assert np.ptp(np.asarray(fused)) <= 60


def test_a_narrow_range_of_sixteen_bits_is_noted_and_a_window_helps(model, tmp_path):
    thermal = (7000 + 4 * textured(1).astype(np.uint16)).astype(np.uint16)
    Image.fromarray(thermal).save(tmp_path / "ir.tif")
    Image.fromarray(GOOD).save(tmp_path / "vis.png")
    base = ["fuse", tmp_path / "ir.tif", tmp_path / "vis.png", "-o", tmp_path / "f.png", "--model", model]
    assert "--own-range" in refusion(*base).err
    for flags in (["--own-range"], ["--window", "7000", "8020"], ["--window-a", "7000", "8020"]):
        result = refusion(*base, *flags)
        assert result.code == 0, result.err
        assert "--own-range" not in result.err
        with Image.open(tmp_path / "f.png") as fused:
            assert fused.mode == "I;16"
    assert refusion(*base, "--window", "9", "2").code == 2
    assert refusion(*base, "--window", "2", "9", "--own-range").code == 2


def test_what_options_do_not_fit_is_said_before_anything_is_fused(model, tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(textured(ord(name[0]))).save(tmp_path / name)
    base = ["fuse", tmp_path / "a.png", tmp_path / "b.png", "--model", model]
    for flags, words in [
        (["-o", tmp_path / "f.jpg", "--bits", "16"], "f.jpg cannot hold 16 bits"),
        (["-o", tmp_path / "f.png", "--bits", "12"], "8 or 16 bits"),
        (["-o", tmp_path / "f.png", "--chroma", "mean"], "exposure, release, saturation, choice, a, b"),
        (
            ["-o", tmp_path / "f.png", "--align", "--motion", "bend"],
            "translation, euclidean, similarity, affine, homography",
        ),
        (["-o", tmp_path / "f.gif"], "ends in .gif"),
        (
            ["-o", tmp_path / "f.png", "--stretch", "--output-range", "network"],
            "--stretch is short for --output-range stretch, but --output-range network was given too",
        ),
    ]:
        check_refused(refusion(*base, *flags), words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    same = refusion(*base, "-o", tmp_path / "f.png", "--stretch", "--output-range", "stretch", "--anchor", "bounds")
    assert same.code == 0, same.err


def test_sixteen_bits_in_a_format_of_eight_are_refused_before_any_pair_is_fused(model, pair_folder, tmp_path):
    deep = ("-o", tmp_path / "out", "--suffix", ".jpg", "--bits", "16", "--model", model)
    check_refused(refusion("fuse", pair_folder / "ir", pair_folder / "vis", *deep), ".jpg cannot hold 16 bits")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["output-range", "anchor", "chroma", "resize", "motion"])
def test_a_wrong_choice_is_refused_before_the_model_is_loaded(pair_folder, tmp_path, option):
    broken = small_model(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"")
    pair = [pair_folder / folder / "scene0.png" for folder in ("ir", "vis")]
    for command in (
        ["fuse", *pair, "-o", tmp_path / "f.png"],
        ["fuse-dataset", pair_folder, tmp_path / "out", "--workers", 1],
    ):
        for align in ([], ["--align"]):
            check_refused(refusion(*command, "--model", broken, f"--{option}", "steam", *align), "'steam'; choose ")


def test_one_folder_is_told_what_to_do_even_if_the_output_is_there(tmp_path):
    (tmp_path / "stack").mkdir()
    (tmp_path / "o.png").write_bytes(b"")
    check_refused(
        refusion("fuse", tmp_path / "stack", "-o", tmp_path / "o.png", "--task", "multi-focus"),
        "To fuse all images in it as one stack",
    )


def test_a_folder_of_pairs_is_told_to_give_its_two_folders(tmp_path):
    for name in ("functional", "mri"):
        (tmp_path / name).mkdir()
    result = refusion("fuse", tmp_path, "-o", tmp_path / "fused", "--task", "medical")
    assert result.code == 2
    assert f"give its two sub-folders: {tmp_path / 'functional'} {tmp_path / 'mri'}." in result.err


def test_the_option_for_other_sizes_is_named_only_where_it_helps(tmp_path):
    for name, size in (("a", (64, 48)), ("half", (32, 24)), ("square", (48, 48))):
        Image.new("L", size).save(tmp_path / f"{name}.png")
    for other, helps in (("half", True), ("square", False)):
        result = refusion("fuse", tmp_path / "a.png", tmp_path / f"{other}.png", "-o", tmp_path / "o.png")
        assert result.code == 2
        assert ("--resize smaller, larger, a or b" in result.err) == helps


def test_a_card_for_a_folder_without_a_model_writes_nothing(tmp_path):
    assert refusion("card", tmp_path).code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_push_to_a_folder_is_told_what_writes_one(model, tmp_path):
    result = refusion("push", model, f"./{tmp_path.name}")
    assert result.code == 2
    assert f"`refusion card {model} -o ./{tmp_path.name}` writes the same files" in " ".join(result.err.split())
    assert refusion("card", model, "-o", tmp_path / "published").code == 0


def test_an_output_of_a_training_that_is_a_file_is_refused_first(pair_folder, tmp_path):
    (tmp_path / "run").write_text("not a run")
    flags = ["--task", "ir-vis", "--data", pair_folder, "--steps", "1"]
    result = refusion("train", *flags, "--out", tmp_path / "run")
    assert result.code == 2
    assert "run is a file, or lies below one; choose another --out." in " ".join(result.err.split())


def test_a_single_image_is_told_what_is_wrong_with_it_first(model, tmp_path):
    Image.fromarray(GOOD).save(tmp_path / "b.png")
    gif = tmp_path / "a.gif"
    Image.fromarray(GOOD).save(gif, save_all=True, append_images=[Image.fromarray(textured(1))])
    for source, words in (
        (
            gif,
            "holds several frames, but a file must hold one; save each frame you need as a file of its own.",
        ),
        (
            tmp_path / "b.png",
            "also give its partner, or the rest of its stack with --task multi-focus or --task multi-",
        ),
    ):
        check_refused(refusion("fuse", source, "-o", tmp_path / "fused.png", "--model", model), words)


def test_an_output_below_a_file_or_with_another_suffix_is_said(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(GOOD).save(tmp_path / folder / "x.png")
    file = tmp_path / "a" / "x.png"
    for arguments, words in (
        (
            [file, file, "-o", file / "y.png"],
            f"y.png cannot be written: {file} is a file, not a folder; ",
        ),
        ([file, file, "-o", tmp_path / "no" / "y.png"], f"there is no folder {tmp_path / 'no'}; create it first."),
        ([tmp_path / "a", tmp_path / "b", "-o", tmp_path / "c", "--suffix", "gif"], "cannot have the suffix .gif; it"),
    ):
        check_refused(refusion("fuse", *arguments), words)


@pytest.mark.parametrize("output", [".", "/"])
def test_an_output_that_is_a_folder_is_named_as_it_was_given(pair_folder, output):
    pair = pair_folder / "ir" / "scene0.png", pair_folder / "vis" / "scene0.png"
    check_refused(refusion("fuse", *pair, "-o", output), f"{output} is a folder; give the name of a file in it")
    result = refusion("evaluate", "--data", pair_folder, "--fused", pair_folder / "ir", "--json", output)
    check_refused(result, f"{output} is a folder; give the name of a file to write.")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which nobody can create files")
def test_an_output_in_a_folder_that_takes_no_files_is_refused_before_any_work(model, tmp_path):
    file = tmp_path / "x.png"
    Image.fromarray(GOOD).save(file)
    for arguments in (
        ["fuse", file, file, "-o", "/proc/y.png", "--model", model],
        ["explain", file, file, "-o", "/proc/explained", "--model", model],
        ["export", model, "-o", "/proc/m.onnx"],
        ["card", model, "-o", "/proc/card"],
    ):
        result = refusion(*arguments)
        check_refused(result, "Nothing can be written to the folder /proc: ", "; choose another.")
        assert not result.out


def test_a_card_is_not_written_into_a_file(model, tmp_path):
    (tmp_path / "afile").write_bytes(b"kept")
    result = refusion("card", model, "-o", tmp_path / "afile")
    assert result.code == 2
    assert result.err == "refusion: The output afile is a file, but a folder is needed; choose another."
    assert (tmp_path / "afile").read_bytes() == b"kept"


def test_errors_of_the_system_are_sentences(tmp_path):
    Image.fromarray(GOOD).save(tmp_path / "a.png")
    long = tmp_path / f"{'n' * 300}.png"
    result = refusion("fuse", tmp_path / "a.png", tmp_path / "a.png", "-o", long)
    assert result.code == 2
    assert result.err == f"refusion: {long} cannot be used: File name too long."


def test_a_revision_of_what_is_not_on_the_hub_is_refused(model, tmp_path):
    pair = [tmp_path / "ir/x.png", tmp_path / "vis/x.png"]
    for seed, path in enumerate(pair):
        path.parent.mkdir()
        Image.fromarray(textured(seed)).save(path)
    fuse, revision = ("fuse", *pair, "-o", tmp_path / "f.png"), ("--revision", "v1")
    data = ("fuse-dataset", tmp_path, tmp_path / "out", "--model-revision", "v1")
    for command, name in (
        ((*fuse, *revision), "refusion-ir-vis"),
        ((*fuse, "--task", "medical", *revision), "refusion-medical"),
        ((*fuse, "--model", model, *revision), "model"),
        (("explain", *pair, *revision), "refusion-ir-vis"),
        (("export", "refusion-medical", "-o", tmp_path / "m.onnx", *revision), "refusion-medical"),
        (("evaluate", "--data", tmp_path, "--model", model, *revision), "model"),
        ((*data, "--model", model), "model"),
    ):
        result = refusion(*command)
        assert result.code == 2
        wanted = (
            f"refusion: The revision v1 was asked for, but {name} is a folder on this machine, which has none; give"
        )
        assert result.err.startswith(wanted), result.err
    two = refusion("evaluate", "--data", tmp_path, "--model", model, "--model", "refusion-ir-vis", *revision)
    assert (two.code, two.err) == (2, "refusion: --revision belongs to one --model, but 2 are given; give one.")


def test_a_url_is_no_path(tmp_path):
    result = refusion("fuse", "https://example.org/a.png", "b.png", "-o", tmp_path / "c.png")
    assert result.err == "refusion: a.png is given by a URL; download it, and give the file."


@pytest.mark.parametrize("name", ["pairs.json", "pairs.txt"])
def test_a_list_of_another_kind_is_refused_as_a_list(tmp_path, name):
    (tmp_path / name).write_text("[]")
    result = refusion("fuse", tmp_path / name, "-o", tmp_path / "out")
    check_refused(result, f"{name} is not read: a list of pairs must be .csv, .tsv or .jsonl")


def test_fuse_sends_parquet_to_fuse_dataset(tmp_path):
    (tmp_path / "pairs.parquet").write_bytes(b"PAR1")
    result = refusion("fuse", tmp_path / "pairs.parquet", "-o", tmp_path / "out")
    check_refused(result, "pairs.parquet is a Parquet file, which this command does not read; refusion fuse-dataset")


def test_animations_are_not_fused_to_a_video(tmp_path):
    frames = [Image.fromarray(textured(seed)) for seed in range(2)]
    for name in ("a.gif", "b.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    result = refusion("fuse", tmp_path / "a.gif", tmp_path / "b.webp", "-o", tmp_path / "x.mp4")
    check_refused(result, "x.mp4 is a video, but a.gif is read as an image, and animations", "not read as videos")
