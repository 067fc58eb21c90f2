"""The `refusion` command: fusing, converting, and what its processes import."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from support import program, release
from support.command import check_refused, refusion
from support.scenes import ROOT, textured

from refusion.hub.folder import save_model
from refusion.hub.names import has_weights
from refusion.models.model import ReFusion
from refusion.tasks import TASKS

EXAMPLES = ROOT / "space" / "examples"


@pytest.fixture
def model(tmp_path) -> Path:
    """A folder with an untrained model."""
    folder = tmp_path / "model"
    folder.mkdir()
    fresh = ReFusion(channels=8, heads=4, blocks=1)
    save_model(folder, fresh, fresh.config)
    return folder


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(textured(1)).save(a)
    colour = np.stack([textured(2), textured(3), textured(4)], axis=-1)
    Image.fromarray(colour).save(b)
    return a, b


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp"])
def test_fuse_writes_every_format(model, pair, tmp_path, suffix):
    output = tmp_path / f"fused.{suffix}"
    result = refusion("fuse", *pair, "-o", output, "--model", model)
    assert result.code == 0, result.err
    expected = np.asarray(ReFusion.from_pretrained(model).fuse(*pair), dtype=int)
    with Image.open(output) as fused:
        assert fused.size == (64, 48)
        assert fused.mode == "RGB"
        assert np.abs(np.asarray(fused, dtype=int) - expected).max() <= (20 if suffix == "jpg" else 0)


def test_the_chroma_follows_the_task(model, pair):
    loaded = ReFusion.from_pretrained(model)
    assert loaded.fuse(*pair).to_image().mode == "RGB"
    assert loaded.fuse(*pair, chroma="a").to_image().mode == "L"
    assert loaded.fuse(pair[0], pair[0]).to_image().mode == "L"


def test_a_model_for_another_task_is_noted(model, pair, tmp_path):
    note = f"Note: The model {model} is for ir-vis, but --task is medical; leave one of them out unless both are meant."
    command = ["fuse", *pair, "-o", tmp_path / "fused.png", "--model", model]
    result = refusion(*command, "--task", "medical")
    assert result.code == 0, result.err
    assert result.err.count(note) == 1
    for others in (["--task", "ir-vis"], ["--task", "medical", "--quiet"], []):
        assert note not in refusion(*command, *others).err
    for name, source in zip(("functional", "mri"), pair, strict=True):
        (tmp_path / "pairs" / name).mkdir(parents=True)
        Image.open(source).save(tmp_path / "pairs" / name / "one.png")
    pairs = tmp_path / "pairs"
    for many in (
        ["fuse", pairs / "functional", pairs / "mri", "-o", tmp_path / "out"],
        ["fuse-dataset", pairs, tmp_path / "set", "--workers", 1],
        ["evaluate", "--data", pairs, "--metrics", "EN"],
    ):
        result = refusion(*many, "--model", model, "--task", "medical")
        assert result.code == 0, result.err
        assert result.err.count(note) == 1
    explained = refusion("explain", *pair, "-o", tmp_path / "e", "--model", "refusion-ir-vis", "--task", "medical")
    assert "The model refusion-ir-vis is for ir-vis, but --task is medical;" in explained.err


def test_stretch_uses_the_whole_range(model, pair, tmp_path):
    dim = tmp_path / "dim.png"
    Image.open(pair[0]).point(lambda level: 60 + level // 4).save(dim)
    for flags, expected in ([], (60, 124)), (["--stretch"], (0, 255)):
        assert refusion("fuse", dim, dim, "-o", tmp_path / "f.png", "--model", model, *flags).code == 0
        with Image.open(tmp_path / "f.png") as fused:
            low, high = fused.getextrema()
        assert abs(low - expected[0]) <= 12
        assert abs(high - expected[1]) <= 12


def test_exif_orientation_is_applied(model, pair, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for source, target in zip(pair, turned, strict=True):
        Image.open(source).save(target, exif=exif)
    assert refusion("fuse", *turned, "-o", tmp_path / "f.png", "--model", model).code == 0
    with Image.open(tmp_path / "f.png") as fused:
        assert fused.size == (48, 64)


def test_exif_that_does_not_fit_into_a_jpeg_is_noted(model, pair, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.UserComment: bytes(8) + b"x" * 70_000}
    Image.open(pair[1]).save(tmp_path / "long.png", exif=exif)
    result = refusion("fuse", pair[0], tmp_path / "long.png", "-o", tmp_path / "f.jpg", "--model", model)
    assert result.code == 0
    assert "in f.jpg UserComment is left out" in result.err


def test_sizes_that_differ_give_both_and_write_nothing(model, pair, tmp_path):
    Image.fromarray(textured(1, 40, 30)).save(pair[1])
    check_refused(refusion("fuse", *pair, "-o", tmp_path / "fused.png", "--model", model), "64 x 48", "30 x 40")
    assert not (tmp_path / "fused.png").exists()


def test_bad_input_is_one_sentence(model, pair, tmp_path):
    output = tmp_path / "fused.png"
    (tmp_path / "text.png").write_text("no picture")
    for arguments, words in [
        ([tmp_path / "nothing.png", pair[1], "-o", output, "--model", model], ["nothing.png"]),
        ([tmp_path / "text.png", pair[1], "-o", output, "--model", model], ["text.png"]),
        ([*pair, "-o", tmp_path / "fused.gif", "--model", model], [".gif", ".png"]),
        ([*pair, "-o", tmp_path / "no" / "fused.png", "--model", model], ["no folder"]),
        ([*pair, "-o", output, "--model", "refusion-nothing"], ["refusion-nothing", "refusion-ir-vis"]),
        ([*pair, "-o", output, "--model", tmp_path], ["config.json"]),
        ([*pair, "-o", output, "--task", "sharpen"], ["sharpen", "ir-vis, medical"]),
        ([*pair, "-o", pair[0], "--model", model], ["a.png is one of the sources"]),
        ([*pair, "-o", output, "--model", model, "--output-range", "full"], ["full", "robust, stretch, network"]),
        ([*pair, "-o", output, "--model", model, "--engine", "tiles"], ["tiles", "strips, whole"]),
        (pair, ["--output"]),
    ]:
        check_refused(refusion("fuse", *arguments), *words)
        assert not output.exists()
    assert Image.open(pair[0]).size == (64, 48)
    check_refused(program.refusion("fuse", tmp_path / "nothing.png", pair[1], "-o", output), "nothing.png")


def test_a_window_for_one_source_of_a_stack_says_what_is_for_all(tmp_path):
    frames = [tmp_path / f"{place}.png" for place in range(3)]
    for place, frame in enumerate(frames):
        Image.fromarray(textured(place).astype(np.uint16) * 16).save(frame)
    first, *others = map(Image.open, frames)
    first.save(tmp_path / "all.tif", save_all=True, append_images=others)
    for sources in (frames, [tmp_path / "all.tif"]):
        stack = ("fuse", *sources, "-o", tmp_path / "f.png", "--task", "multi-focus")
        check_refused(
            refusion(*stack, "--window-a", "0", "4095"),
            "for the two sources of a pair, but a stack of 3 images was given; give one window",
        )
    assert not (tmp_path / "f.png").exists()


def test_help_does_not_import_torch():
    code = "import sys; sys.argv = ['refusion', '--help']\nfrom refusion.cli.app import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules, 'PIL' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "fuse" in result.stdout
    assert result.stdout.endswith("False False\n")


def test_info_names_the_engine():
    result = refusion("info")
    assert result.code == 0, result.err
    assert "CPU: onnx" in result.out


def test_inference_imports_nothing_of_training():
    code = "import sys\nfrom refusion import ReFusion\n"
    code += "print(sorted({'timm', 'datasets', 'gradio', 'refusion.training.trainer'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.stdout == "[]\n", result.stderr


def test_convert_gives_a_folder_that_fuses(pair, shared, tmp_path):
    state = release.random_state((shared / "authors_checkpoint_keys.txt").read_text())
    torch.save(state, tmp_path / "ReFusion_IVIF.pth")
    out = tmp_path / "converted"
    assert refusion("convert", tmp_path / "ReFusion_IVIF.pth", out, "--task", "ir-vis").code == 0
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
    result = refusion("fuse", pair[0], pair[0], "-o", tmp_path / "f.png", "--model", out, "--stretch")
    assert result.code == 0, result.err
    y = torch.from_numpy(np.asarray(Image.open(pair[0]), dtype=np.float32) / 255)[None, None]
    theirs = release.fuse(state, y, y)
    theirs = (255 * (theirs - theirs.min()) / (theirs.max() - theirs.min()))[0, 0].numpy()
    assert np.abs(np.asarray(Image.open(tmp_path / "f.png"), dtype=float) - theirs).max() <= 1


def test_convert_names_what_does_not_fit(tmp_path):
    torch.save({"strange": torch.zeros(1)}, tmp_path / "theirs.pth")
    check_refused(
        refusion("convert", tmp_path / "theirs.pth", tmp_path / "out"), "theirs.pth", "lacks FM.project_E", "more such"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("task", [t for t in TASKS.values() if has_weights(t.model)], ids=lambda t: t.name)
def test_the_examples_fuse_with_the_bundled_weights(task, tmp_path):
    a, b = (EXAMPLES / f"{task.name}_{folder}.png" for folder in task.folders)
    result = program.refusion("fuse", a, b, "-o", tmp_path / "fused.png", "--task", task.name)
    assert result.code == 0, result.err
    with Image.open(tmp_path / "fused.png") as fused, Image.open(a) as first:
        assert fused.size == first.size
        assert np.asarray(fused).std() > 20
