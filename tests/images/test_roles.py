"""Sources that look exchanged or unlike what they are to be, and colours of different profiles."""

import io
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms
from support.command import refusion, small_model
from support.scenes import SHARED, textured

from refusion.images import Picture, read_picture, save_picture, to_array
from refusion.images.colour import split_colour
from refusion.images.profiles import share_profile
from refusion.images.roles import role_notes
from refusion.models.model import ReFusion
from refusion.system.advice import in_demo
from refusion.tasks import get_task

GREY = textured(1)
VISIBLE = np.stack([textured(2), textured(2) // 2 + 60, textured(3) // 2 + 40], axis=-1)
IR_VIS, MEDICAL, EXPOSURE = (get_task(name) for name in ("ir-vis", "medical", "multi-exposure"))


def false_colours(grey, palette, quality=None):
    coloured = np.ascontiguousarray(cv2.applyColorMap(grey, palette)[..., ::-1])
    if quality is None:
        return read_picture(coloured)
    file = io.BytesIO()
    Image.fromarray(coloured).save(file, "JPEG", quality=quality)
    return read_picture(file)


def test_infrared_and_visible_exchanged():
    grey, visible = read_picture(GREY), read_picture(VISIBLE)
    assert role_notes(grey, visible, IR_VIS) == []
    assert role_notes(grey, grey, IR_VIS) == []
    (note,) = role_notes(visible, grey, IR_VIS)
    assert "is a colour image, and array, the visible one, is grey: they look swapped" in note
    (note,) = role_notes(visible, false_colours(GREY, cv2.COLORMAP_JET), IR_VIS)
    assert "is in false colours: they look swapped" in note
    (note,) = role_notes(visible, visible, IR_VIS)
    assert "is coloured, and only its brightness is fused" in note


@pytest.mark.parametrize("palette", ["JET", "RAINBOW", "INFERNO", "HOT", "TURBO", "PLASMA"])
@pytest.mark.parametrize("quality", [None, 90])
def test_infrared_in_false_colours(palette, quality):
    infrared = false_colours(cv2.GaussianBlur(GREY, (0, 0), 2), getattr(cv2, f"COLORMAP_{palette}"), quality)
    for visible in (VISIBLE, GREY):
        (note,) = role_notes(infrared, read_picture(visible), IR_VIS)
        assert "is in false colours (a palette such as rainbow or iron)" in note
    (note,) = role_notes(read_picture(GREY), infrared, IR_VIS)
    assert "given as the visible source but is in false colours" in note
    assert "they look swapped" in note


def test_a_vivid_photograph_is_no_false_colour():
    vivid = np.stack([textured(2), textured(4) // 3, textured(3) // 2], axis=-1)
    assert role_notes(read_picture(GREY), read_picture(vivid), IR_VIS) == []


def test_a_tint_of_noise_is_no_colour():
    tinted = np.clip(GREY[..., None].astype(int) + np.random.default_rng(0).integers(-2, 3, (48, 64, 3)), 0, 255)
    assert role_notes(read_picture(tinted.astype(np.uint8)), read_picture(VISIBLE), IR_VIS) == []


def test_focus_images_have_one_exposure():
    focus = get_task("multi-focus")
    assert role_notes(read_picture(GREY), read_picture(np.clip(GREY * 1.2, 0, 255).astype(np.uint8)), focus) == []
    for pair in ((GREY, GREY // 4), (GREY, np.zeros_like(GREY))):
        (note,) = role_notes(*map(read_picture, pair), focus)
        assert "is much darker" in note
        assert "images of different focus have one exposure" in note
        assert note.endswith("; --task multi-exposure (task='multi-exposure') is for an exposure bracket.")
        assert in_demo(note).endswith("; the task multi-exposure is for an exposure bracket.")


def test_exposures_of_one_bracket_differ():
    sharp, blurred = GREY, cv2.GaussianBlur(GREY, (0, 0), 2)
    model = ReFusion("multi-exposure", channels=8, heads=4, blocks=1).eval()
    for notes in (
        role_notes(read_picture(sharp), read_picture(blurred), EXPOSURE),
        model.fuse_stack([sharp, blurred, cv2.GaussianBlur(GREY, (0, 0), 1)]).notes,
    ):
        (note,) = notes
        assert "equally bright" in note
        assert "multi-focus is for images of different focus" in in_demo(note)
    assert role_notes(read_picture(GREY), read_picture(np.minimum(GREY * 1.2, 255).astype(np.uint8)), EXPOSURE) == []
    assert not any("equally bright" in note for note in model.fuse_stack([GREY // 4, GREY // 2, GREY]).notes)


def test_exposures_and_scans_exchanged():
    dark, bright = read_picture(GREY // 3), read_picture(GREY // 2 + 100)
    assert role_notes(dark, bright, EXPOSURE) == []
    (note,) = role_notes(bright, dark, EXPOSURE)
    assert "given as the under-exposed source but is brighter" in note
    pet, mri = false_colours(GREY, cv2.COLORMAP_HOT), read_picture(GREY)
    assert role_notes(pet, mri, MEDICAL) == role_notes(mri, mri, MEDICAL) == []
    assert "given as the MRI but is coloured: they look swapped" in role_notes(mri, pet, MEDICAL)[0]


def test_every_command_says_so(tmp_path):
    model = small_model(tmp_path / "model")
    for index in range(2):
        for side, pixels in (("ir", VISIBLE), ("vis", GREY)):
            (tmp_path / "pairs" / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.roll(pixels, index, axis=0)).save(tmp_path / "pairs" / side / f"{index}.png")
    pair = [tmp_path / "pairs" / side / "0.png" for side in ("ir", "vis")]
    for arguments in (
        ["fuse", *pair, "-o", tmp_path / "f.png", "--model", model],
        ["evaluate", "--data", tmp_path / "pairs", "--model", model],
        ["explain", *pair, "-o", tmp_path / "explained"],
    ):
        assert "they look swapped" in refusion(*arguments).err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "folder", "sides"),
    [
        ("ir-vis", "ir_vis", ("ir", "vis")),
        ("medical", "medical", ("functional", "mri")),
        ("multi-exposure", "multi_exposure", ("under", "over")),
    ],
)
def test_no_real_pair_in_order_is_noted(shared, task, folder, sides):
    for first in sorted((SHARED / "data" / folder / "val" / sides[0]).iterdir()):
        (second,) = (SHARED / "data" / folder / "val" / sides[1]).glob(f"{first.stem}.*")
        pair = read_picture(first), read_picture(second)
        assert role_notes(*pair, get_task(task)) == []


# Profiles


def wide_gamut():
    """A profile of RGB with the primaries of Adobe RGB (1998), built by hand."""

    def xyz(*values):
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in values))

    text = b"Wide test profile"
    description = b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(78)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256))
    parts = {
        b"desc": description,
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body, at = b"", b"", 128 + 4 + 12 * len(parts)
    for name, part in parts.items():
        part += bytes(-len(part) % 4)
        table += name + struct.pack(">II", at + len(body), len(part))
        body += part
    size = at + len(body)
    header = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02100000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    header += bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return header + struct.pack(">I", len(parts)) + table + body


def test_a_linear_profile_is_converted_whatever_its_name():
    """ "GIMP built-in Linear sRGB" has the primaries of sRGB, but other levels."""
    linear = wide_gamut().replace(b"Wide test profile", b"Some Linear sRGB.")
    plain = Image.fromarray(VISIBLE)
    in_linear = ImageCms.profileToProfile(
        plain, ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(linear))
    )
    in_linear.info["icc_profile"] = linear
    converted, note = share_profile(read_picture(in_linear), read_picture(plain))
    assert note is not None
    assert np.abs(to_array(converted).astype(int) - VISIBLE).max() <= 3


def test_colours_are_brought_to_one_profile(tmp_path):
    plain = Image.fromarray(VISIBLE)
    wide = wide_gamut()
    in_wide = ImageCms.profileToProfile(
        plain, ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(wide))
    )
    in_wide.save(tmp_path / "wide.png", icc_profile=wide)
    plain.save(tmp_path / "plain.png")
    a, b = read_picture(tmp_path / "plain.png"), read_picture(tmp_path / "wide.png")
    assert np.abs(to_array(b).astype(int) - VISIBLE).max() > 10
    converted, note = share_profile(b, a)
    assert np.abs(to_array(converted).astype(int) - VISIBLE).max() <= 3
    assert note == "The colours of wide.png were converted to the colour profile of plain.png."
    back, _ = share_profile(a, b)
    assert np.abs(to_array(back).astype(int) - to_array(b)).max() <= 3
    assert back.icc_profile == wide
    for one, other in ((a, a), (b, b), (read_picture(GREY), b), (b, read_picture(GREY))):
        assert share_profile(one, other) == (one, None)
    model = ReFusion("multi-focus", channels=8, heads=4, blocks=1).eval()
    fused = model.fuse(tmp_path / "plain.png", tmp_path / "wide.png")
    assert note in fused.notes
    assert fused.picture.icc_profile is None
    stack = [tmp_path / "plain.png", tmp_path / "wide.png", tmp_path / "plain.png"]
    assert note.replace("plain.png", "plain.png (1)") in model.fuse_stack(stack).notes


def chunk(kind: bytes, *values: float) -> bytes:
    body = kind + struct.pack(f">{len(values)}I", *(round(value * 100_000) for value in values))
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


SRGB_POINTS = chunk(b"cHRM", 0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


@pytest.mark.parametrize(
    ("chunks", "differs"),
    [
        (chunk(b"gAMA", 1.0), True),
        (chunk(b"cHRM", 0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), True),
        (chunk(b"gAMA", 0.45455) + SRGB_POINTS, False),
        (b"\0\0\0\x01sRGB\0\xae\xce\x1c\xe9" + chunk(b"gAMA", 1.0), False),
        (chunk(b"gAMA", 0.0), False),
        (chunk(b"gAMA", 0.00001), False),
        (chunk(b"cHRM", *[0.3] * 8), False),
    ],
    ids=["linear", "wide", "as sRGB", "sRGB", "no gamma", "steep gamma", "no colours"],
)
def test_gamma_and_primaries_of_a_png_count_as_a_profile(tmp_path, chunks, differs):
    file = io.BytesIO()
    Image.fromarray(VISIBLE).save(file, "PNG")
    content = file.getvalue()
    (tmp_path / "declared.png").write_bytes(content[:33] + chunks + content[33:])
    declared, plain = read_picture(tmp_path / "declared.png"), read_picture(VISIBLE)
    converted, note = share_profile(declared, plain)
    assert (declared.icc_profile is not None) == (note is not None) == differs
    change = to_array(converted).astype(int) - VISIBLE
    assert (np.abs(change).max() > 10) == differs
    if chunks == chunk(b"gAMA", 1.0):
        assert np.abs(to_array(converted) - 255 * (VISIBLE / 255.0) ** (1 / 2.4)).mean() < 12
        assert change.mean() > 10


@pytest.mark.parametrize("gamma", [0.4167, 0.5])
def test_the_gamma_of_a_png_is_that_of_encoding(tmp_path, gamma):
    """PNG specification, 11.3.2.2: values are light to the power of gAMA."""
    file = io.BytesIO()
    Image.fromarray(VISIBLE).save(file, "PNG")
    content = file.getvalue()
    (tmp_path / "declared.png").write_bytes(content[:33] + chunk(b"gAMA", gamma) + content[33:])
    converted, note = share_profile(read_picture(tmp_path / "declared.png"), read_picture(VISIBLE))
    light = (VISIBLE / 255) ** (1 / gamma)
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert note == "The colours of declared.png were converted to the colour profile of array."
    assert np.abs(to_array(converted) / 255 - srgb).max() < 0.02


@pytest.mark.parametrize("gamma", [1.0, 2.2])
def test_a_bmp_is_written_in_srgb(tmp_path, gamma):
    declared = imagecodecs.cms_profile(
        "rgb", whitepoint=(0.3127, 0.329, 1), primaries=(0.68, 0.32, 1, 0.265, 0.69, 1, 0.15, 0.06, 1), gamma=gamma
    )
    plain = split_colour(VISIBLE / np.float32(255))
    declared_picture, _ = share_profile(
        Picture(*plain, "plain.png"), Picture(*plain, "wide.png", icc_profile=bytes(declared))
    )
    assert np.abs(to_array(declared_picture).astype(int) - VISIBLE).max() > 10
    note = save_picture(declared_picture, tmp_path / "a.bmp")
    assert note == (
        "a.bmp cannot hold the colour profile, so the colours in it were converted to sRGB; a .png or .tif file has "
        "the profile."
    )
    with Image.open(tmp_path / "a.bmp") as image:
        assert np.abs(np.asarray(image).astype(int) - VISIBLE).max() <= 3
    for suffix in ("png", "tif", "jpg", "webp"):
        assert save_picture(declared_picture, tmp_path / f"a.{suffix}") is None
        with Image.open(tmp_path / f"a.{suffix}") as image:
            assert image.info["icc_profile"] == declared


def test_a_bmp_of_srgb_or_grey_is_not_converted(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = read_picture(VISIBLE)
    for picture in (plain, Picture(plain.luminance, plain.chroma, "a", icc_profile=srgb), read_picture(GREY)):
        assert save_picture(picture, tmp_path / "a.bmp") is None
        np.testing.assert_array_equal(to_array(read_picture(tmp_path / "a.bmp")), to_array(picture))


def test_a_bmp_whose_profile_cannot_be_read_is_said(tmp_path):
    plain = read_picture(VISIBLE)
    broken = Picture(plain.luminance, plain.chroma, "b.png", icc_profile=bytes(16) + b"RGB " + bytes(200))
    note = save_picture(broken, tmp_path / "a.bmp")
    assert "a.bmp cannot hold the colour profile, and the colours cannot be converted to sRGB (" in (note or "")
    with Image.open(tmp_path / "a.bmp") as image:
        np.testing.assert_array_equal(np.asarray(image), VISIBLE)


def test_the_command_says_that_a_bmp_is_in_srgb(tmp_path):
    in_wide = Image.fromarray(VISIBLE)
    in_wide.save(tmp_path / "wide.png", icc_profile=wide_gamut())
    Image.fromarray(GREY).save(tmp_path / "ir.png")
    model = small_model(tmp_path / "model", "ir-vis")
    said = refusion("fuse", tmp_path / "ir.png", tmp_path / "wide.png", "-o", tmp_path / "f.bmp", "--model", model)
    assert "Note: f.bmp cannot hold the colour profile, so the colours in it were converted to sRGB;" in said.err


def test_colours_of_16_bits_keep_their_levels_in_another_profile():
    levels = np.linspace(0.4, 0.6, 1024, dtype=np.float32)
    ramp = np.stack([levels, levels[::-1], np.full_like(levels, 0.5)], axis=-1)[None].repeat(8, axis=0)
    wide = Picture(*split_colour(ramp), "wide.tif", icc_profile=wide_gamut())
    converted, _ = share_profile(wide, Picture(*split_colour(ramp), "plain.tif"))
    assert len(np.unique(to_array(converted, 16)[0, :, 0])) > 1000


def test_a_profile_that_cannot_be_read_is_said():
    a = read_picture(VISIBLE)
    broken = Picture(a.luminance, a.chroma, "b.png", icc_profile=bytes(16) + b"RGB " + bytes(200))
    same, note = share_profile(broken, a)
    assert same is broken
    assert "cannot be converted" in (note or "")
