"""Focus stacks and exposure brackets."""

import tracemalloc
from functools import partial
from itertools import permutations

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from support.command import check_refused, refusion, small_model
from support.scenes import textured

import refusion as refusion_api
from refusion.images import PictureError, read_picture, to_array
from refusion.images.frames import frames_of
from refusion.images.picture import MAX_FRAMES
from refusion.inference.alignment import estimate_alignment
from refusion.inference.edges import View
from refusion.inference.options import Options
from refusion.inference.stack import fuse_stack
from refusion.inference.stack_layers import Layer, merge_in_pairs
from refusion.inference.stack_reading import StackReader
from refusion.models.model import ReFusion

FOCUS = ReFusion("multi-focus", channels=8, heads=4, blocks=1).eval()
EXPOSURE = ReFusion("multi-exposure", channels=8, heads=4, blocks=1).eval()


def frames(count: int) -> list[np.ndarray]:
    return [textured(seed) for seed in range(count)]


@pytest.mark.parametrize("model", [FOCUS, EXPOSURE], ids=lambda model: model.task.name)
def test_the_order_does_not_matter(model):
    stack = frames(4)
    expected = np.asarray(model.fuse_stack(stack))
    for order in list(permutations(range(4)))[1::5]:
        np.testing.assert_array_equal(np.asarray(model.fuse_stack([stack[i] for i in order])), expected)


class Watched:
    """A network that notes how many bytes are held when it is called, of those that Python and NumPy allocate."""

    def __init__(self, network: ReFusion) -> None:
        self._network, self.task, self.held = network, network.task, []

    def fuse_luminances(self, a, b, *, engine=None):
        self.held.append(tracemalloc.get_traced_memory()[0])
        return self._network.fuse_luminances(a, b, engine=engine)


@pytest.mark.parametrize(("model", "planes"), [(EXPOSURE, 2 + 3), (FOCUS, 6)], ids=["multi-exposure", "multi-focus"])
def test_while_the_network_runs_little_else_is_in_memory(model, planes, tmp_path):
    # Two sources; of a bracket also the weighted colour and its weight, of a focus stack the colour of both sources.
    paths = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        colours = [textured(3 * seed + channel, 200, 300) for channel in range(3)]
        Image.fromarray(np.stack(colours, axis=-1)).save(path)
    fuse_stack(model, paths, Options(), model.task)
    watched = Watched(model)
    tracemalloc.start()
    try:
        fuse_stack(watched, paths, Options(), model.task)
    finally:
        tracemalloc.stop()
    assert watched.held
    assert max(watched.held) < 200 * 300 * 4 * (planes + 0.5)


def test_every_kind_of_source_gives_the_same(tmp_path):
    stack = frames(3)
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, frame in zip(paths, stack, strict=True):
        Image.fromarray(frame).save(path)
    expected = np.asarray(FOCUS.fuse_stack(stack))
    for sources in (paths, [Image.fromarray(frame) for frame in stack]):
        np.testing.assert_array_equal(np.asarray(FOCUS.fuse_stack(sources)), expected)


def test_a_tiff_of_several_images_is_a_stack(tmp_path):
    stack = frames(3)
    colour = [np.stack([frame, frame // 2, frame], axis=-1) for frame in stack]
    tifffile.imwrite(tmp_path / "imagej.tif", np.stack(stack), imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "ome.ome.tif", np.stack(stack), metadata={"axes": "ZYX"})
    first, *others = (Image.fromarray(frame) for frame in stack)
    first.save(tmp_path / "pages.tif", save_all=True, append_images=others, compression="tiff_lzw")
    expected = np.asarray(FOCUS.fuse_stack(stack))
    for file in ("imagej.tif", "ome.ome.tif", "pages.tif"):
        np.testing.assert_array_equal(np.asarray(FOCUS.fuse_stack(tmp_path / file)), expected)
        np.testing.assert_array_equal(refusion_api.fuse(str(tmp_path / file), model=FOCUS).to_array(), expected)
    tifffile.imwrite(tmp_path / "colour.tif", np.stack(colour), photometric="rgb")
    tifffile.imwrite(tmp_path / "colour.ome.tif", np.stack(colour), photometric="rgb", metadata={"axes": "ZYXS"})
    expected = np.asarray(FOCUS.fuse_stack(colour))
    for file in ("colour.tif", "colour.ome.tif"):
        np.testing.assert_array_equal(np.asarray(FOCUS.fuse_stack(tmp_path / file)), expected)


def test_several_channels_of_colour_are_no_stack(tmp_path):
    colour = np.stack([np.stack([frame] * 3, axis=-1) for frame in frames(4)]).reshape(2, 2, *textured(0).shape, 3)
    tifffile.imwrite(tmp_path / "scan.ome.tif", colour, photometric="rgb", metadata={"axes": "CZYXS"})
    with pytest.raises(PictureError, match=r"scan\.ome\.tif holds 2 channels, but"):
        FOCUS.fuse_stack(tmp_path / "scan.ome.tif")


def test_a_tiff_of_two_images_is_a_pair_in_their_order(tmp_path):
    deep = np.stack(frames(2)).astype(np.uint16) * 100
    tifffile.imwrite(tmp_path / "pair.tif", deep)
    fused = refusion_api.fuse(tmp_path / "pair.tif", model=FOCUS, window=(0, 25500))
    expected = refusion_api.fuse(deep[0], deep[1], model=FOCUS, window=(0, 25500))
    np.testing.assert_array_equal(fused.to_array(16), expected.to_array(16))
    model = small_model(tmp_path / "model", "multi-focus")
    result = refusion("fuse", tmp_path / "pair.tif", "-o", tmp_path / "fused.png", "--model", model, "--own-range")
    assert result.code == 0, result.err
    with Image.open(tmp_path / "fused.png") as image:
        assert image.size == deep.shape[:0:-1]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"imagej": True, "metadata": {"axes": "ZCYX"}}, r"scan\.tif holds 2 channels, but"),
        ({"imagej": True, "metadata": {"axes": "TZYX"}}, r"scan\.tif holds 3 times, but"),
        ({"ome": True, "metadata": {"axes": "CZYX"}}, r"scan\.tif holds 3 channels, but"),
        ({"ome": True, "metadata": {"axes": "TZYX"}}, r"scan\.tif holds 3 times, but"),
    ],
)
def test_channels_and_times_are_no_stack(tmp_path, written, words):
    tifffile.imwrite(tmp_path / "scan.tif", np.stack([frames(2)] * 3), **written)
    with pytest.raises(PictureError, match=words):
        FOCUS.fuse_stack(tmp_path / "scan.tif")


def pages_after_pixels(path, stack):
    first, *others = (Image.fromarray(frame) for frame in stack)
    first.save(path, save_all=True, append_images=others, compression="tiff_lzw")


def pages_before_pixels(path, stack):
    first, *others = (Image.fromarray(frame) for frame in stack)
    first.save(path, save_all=True, append_images=others)


def hyperstack(path, stack):
    tifffile.imwrite(path, np.reshape(stack, (2, 3, *stack[0].shape)), imagej=True, metadata={"axes": "ZCYX"})


@pytest.mark.parametrize(
    "write",
    [
        pages_after_pixels,
        pages_before_pixels,
        hyperstack,
        tifffile.imwrite,
        partial(tifffile.imwrite, compression="lzw"),
        partial(tifffile.imwrite, imagej=True, metadata={"axes": "ZYX"}),
        partial(tifffile.imwrite, bigtiff=True),
    ],
    ids=["pages after pixels", "pages before pixels", "hyperstack", "tifffile", "lzw", "imagej", "bigtiff"],
)
def test_a_tiff_that_was_cut_off_is_not_fused_from_the_images_that_are_left(tmp_path, write):
    stack = frames(6)
    write(tmp_path / "full.tif", np.stack(stack))
    content = (tmp_path / "full.tif").read_bytes()
    whole = len(content) - 8
    said = set()
    for size in {len(content) * share // 100 for share in range(5, 98, 3)} | {whole - 80, whole - 8, whole}:
        (tmp_path / "cut.tif").write_bytes(content[:size])
        with pytest.raises(PictureError, match=r"truncated|several frames") as caught:
            read_picture(tmp_path / "cut.tif")
        said.add(str(caught.value))
        try:
            left = frames_of(tmp_path / "cut.tif")
            # Without the end of the last directory, all pixels may be there.
            for frame, expected in zip(left, stack, strict=True):
                np.testing.assert_array_equal(to_array(read_picture(frame)), expected)
        except PictureError as error:
            said.add(str(error))
    assert "cut.tif is truncated: its list of images points beyond its end; copy it again." in said


@pytest.mark.parametrize("share", [95, 60, 30, 15, 13])
def test_a_stack_or_pair_with_a_tiff_that_was_cut_off_is_refused(tmp_path, share):
    stack = frames(8)
    pages_after_pixels(tmp_path / "full.tif", stack)
    content = (tmp_path / "full.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: len(content) * share // 100])
    truncated = r"cut\.tif is truncated: its list of images points beyond its end; copy it again\."
    with pytest.raises(PictureError, match=truncated):
        FOCUS.fuse_stack(tmp_path / "cut.tif")
    with pytest.raises(PictureError, match=truncated):
        FOCUS.fuse(tmp_path / "cut.tif", stack[0])


def test_a_thumbnail_whose_image_was_cut_off_is_not_fused(tmp_path):
    stored = frames(1)[0]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(stored[::2, ::2], subifds=1, subfiletype=1)
        writer.write(stored, compression="deflate")
    content = (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start = file.pages[0].subifds[0]
    (tmp_path / "cut.tif").write_bytes(content[:start])
    with pytest.raises(PictureError, match=r"cut\.tif is truncated"):
        read_picture(tmp_path / "cut.tif")


def test_in_a_pair_a_stack_is_advised_only_where_it_would_be_fused(tmp_path):
    stack = np.stack(frames(3))
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    tifffile.imwrite(tmp_path / "channels.tif", stack, ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    tifffile.imwrite(tmp_path / "many.tif", np.zeros((MAX_FRAMES + 1, 16, 16), np.uint8))
    # A single directory, as ImageJ writes large files.
    tifffile.imwrite(tmp_path / "listed.tif", stack[0], description="ImageJ=1.54f\nimages=3\n", metadata=None)
    pages_before_pixels(tmp_path / "sizes.tif", [stack[0], stack[1][:40]])
    alone = "save each frame you need as a file of its own"
    for name in ("stack", "channels", "many", "listed", "sizes"):
        with pytest.raises(PictureError) as caught:
            FOCUS.fuse(tmp_path / f"{name}.tif", stack[0])
        advised = ", or give this file alone to fuse its frames as a stack" if name == "stack" else ""
        assert str(caught.value) == f"{name}.tif holds several frames, but a file must hold one; {alone}{advised}."
        if not advised:
            with pytest.raises(ValueError, match=r"channels|images"):
                FOCUS.fuse_stack(tmp_path / f"{name}.tif")


def test_a_tiff_of_different_images_is_no_stack(tmp_path):
    Image.fromarray(textured(1)).save(
        tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(textured(2)[:40])]
    )
    with pytest.raises(PictureError, match="different sizes or types"):
        FOCUS.fuse_stack(tmp_path / "a.tif")
    Image.fromarray(textured(1)).save(tmp_path / "one.png")
    with pytest.raises(ValueError, match="2 to 50 images, but 1"):
        FOCUS.fuse_stack(tmp_path / "one.png")
    with pytest.raises(ValueError, match="two images or more, but one"):
        refusion_api.fuse(tmp_path / "one.png", model=FOCUS)


@pytest.mark.parametrize("model", [FOCUS, EXPOSURE], ids=lambda model: model.task.name)
@pytest.mark.parametrize("holed", [0, 1, 2])
def test_a_hole_in_one_image_is_filled_from_the_others(model, holed):
    stack = [frame // 4 * 3 + 20 * index for index, frame in enumerate(frames(3))]
    hole = np.full(stack[0].shape, 255, np.uint8)
    hole[10:25, 20:40] = 0
    filled = list(stack)
    filled[holed] = np.where(hole == 0, stack[1 if holed == 0 else 0], stack[holed])
    stack[holed] = np.dstack([stack[holed], hole])
    # Three unrelated textures would be ghosts of each other.
    expected = model.fuse_stack(filled, output_range="network", deghost=False).to_array().astype(int)
    fused = model.fuse_stack(stack, output_range="network", deghost=False).to_array().astype(int)
    np.testing.assert_allclose(fused, expected, atol=1)


def flat(*levels: float) -> list[partial[Layer]]:
    return [partial(Layer, np.full((16, 16), level, np.float32), None) for level in levels]


def test_of_a_focus_stack_the_darkest_is_fused_with_the_brightest_at_every_level(tmp_path):
    fused = []

    def mean(a: Layer, b: Layer) -> Layer:
        fused.append((round(a.brightness, 3), round(b.brightness, 3)))
        return Layer((a.luminance + b.luminance) / 2, None)

    merge_in_pairs(mean, flat(0, 0.1, 0.5, 0.6, 0.7, 1), tmp_path, lambda: None)
    assert fused == [(0, 1), (0.1, 0.7), (0.5, 0.6), (0.4, 0.55), (0.475, 0.5)]


@pytest.mark.parametrize(("model", "deghost"), [(FOCUS, True), (EXPOSURE, True), (EXPOSURE, False)])
def test_progress_reaches_the_end(model, deghost):
    seen = []
    model.fuse_stack(frames(3), deghost=deghost, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(len(seen)))
    assert {total for _, total in seen} == {len(seen) - 1}


def test_colour_of_all_frames_counts():
    grey = textured(1)
    red = np.stack([grey, grey // 2, grey // 2], axis=-1)
    fused = np.asarray(FOCUS.fuse_stack([grey, red, textured(2)], output_range="network")).astype(int)
    assert (fused[..., 0] - fused[..., 2]).mean() > 20


def test_sixteen_bits_are_kept():
    deep = [frame.astype(np.uint16) * 257 for frame in frames(3)]
    fused = FOCUS.fuse_stack(deep)
    assert fused.to_image().mode == "I;16"
    assert len(np.unique(np.asarray(fused))) > 256
    shallow = FOCUS.fuse_stack(deep).to_array(8)
    np.testing.assert_array_equal(shallow, np.asarray(FOCUS.fuse_stack(frames(3))))


def test_what_is_no_stack_is_refused(tmp_path):
    with pytest.raises(ValueError, match="2 to 50 images, but 1"):
        FOCUS.fuse_stack(frames(1))
    with pytest.raises(ValueError, match=r"but 51 were given.*--output-range network"):
        FOCUS.fuse_stack([tmp_path / "nowhere.png"] * (MAX_FRAMES + 1))
    with pytest.raises(PictureError, match=r"no file nowhere\.png"):
        FOCUS.fuse_stack([tmp_path / "nowhere.png"] * MAX_FRAMES)
    with pytest.raises(ValueError, match=r"ir-vis fuses two images of different kinds, but 3 .*--task multi-focus"):
        ReFusion("ir-vis", channels=8, heads=4, blocks=1).fuse_stack(frames(3))
    with pytest.raises(ValueError, match="exposure or release or saturation"):
        FOCUS.fuse_stack(frames(3), chroma="a")
    for anchor in ("heat", "detail", "full-detail"):
        with pytest.raises(
            ValueError, match=f"anchor {anchor} is not for a multi-focus stack; choose guided or choice"
        ):
            FOCUS.fuse_stack(frames(3), anchor=anchor)
    with pytest.raises(ValueError, match="resized to its first image only"):
        FOCUS.fuse_stack(frames(3), resize="b")
    with pytest.raises(PictureError, match=r"64 x 48.*32 x 48"):
        FOCUS.fuse_stack([*frames(2), textured(3)[:, :32]])


def room_with_a_window(stops: float) -> np.ndarray:
    """A dim room and a bright sky in its window, at an exposure; 8 bits."""
    rng = np.random.default_rng(0)
    light = 0.08 * (1 + 0.05 * rng.standard_normal((120, 160)))
    light[20:70, 90:140] = np.linspace(4, 7, 50)[:, None]
    return np.rint(255 * np.clip(light * 2.0**stops, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def test_more_frames_of_a_bracket_do_not_take_the_sky_away():
    model = ReFusion.from_pretrained("refusion-multi-exposure")
    sky, room = (slice(24, 66), slice(94, 136)), (slice(80, 115), slice(10, 150))

    def white(picture: np.ndarray) -> float:
        return float((picture[sky] >= 251).mean())

    pair = np.asarray(model.fuse_stack([room_with_a_window(stops) for stops in (-4, 2)]))
    for exposures in ((-4, -1, 2), (-4, -2.5, -1, 0.5, 2)):
        bracket = [room_with_a_window(stops) for stops in exposures]
        fused = np.asarray(model.fuse_stack(bracket))
        assert white(bracket[len(bracket) // 2]) == 1
        assert white(fused) <= white(pair) == 0
        assert fused[room].mean() >= bracket[len(bracket) // 2][room].mean()
    blended = np.asarray(model.fuse_stack([room_with_a_window(stops) for stops in (-4, -1, 2)]))
    assert blended[sky].std() >= pair[sky].std()


def test_the_command_fuses_a_bracket_as_python_does(tmp_path):
    exposures = (-4, -1, 2)
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, stops in zip(paths, exposures, strict=True):
        Image.fromarray(room_with_a_window(stops)).save(path)
    result = refusion("fuse", *paths, "-o", tmp_path / "fused.png", "--task", "multi-exposure")
    assert result.code == 0, result.err
    expected = np.asarray(ReFusion.from_pretrained("refusion-multi-exposure").fuse_stack(paths))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "fused.png")), expected)


def test_the_colour_of_a_focus_stack_is_as_sharp_as_its_luminance():
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (72, 96, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 3)
    third = np.arange(96)[:, None] * 3 // 96
    frames_in_focus = [np.where(third == part, sharp, blurred) for part in range(3)]
    model = ReFusion.from_pretrained("refusion-multi-focus")
    truth, follows, mixed = (
        cv2.cvtColor(np.asarray(x), cv2.COLOR_RGB2YCrCb)[..., 1:].astype(float)
        for x in (sharp, model.fuse_stack(frames_in_focus), model.fuse_stack(frames_in_focus, chroma="release"))
    )
    assert np.abs(follows - truth).mean() < 0.5 * np.abs(mixed - truth).mean()


def handheld_bracket(steps: tuple[int, ...] = (0, 1, 2)) -> list[np.ndarray]:
    """Three exposures of a scene of even brightness, so many steps to the side; the first is the darkest."""
    light = cv2.GaussianBlur(np.random.default_rng(3).random((160, 220), np.float32), (0, 0), 2)
    light = (light - light.min()) / np.ptp(light)
    cuts = [light[2 * i : 2 * i + 140, 3 * i : 3 * i + 200] for i in steps]
    return [
        np.uint8(255 * np.clip(cut * gain, 0, 1) ** (1 / 2.2)) for cut, gain in zip(cuts, (0.1, 0.5, 2), strict=True)
    ]


def test_a_bracket_that_was_moved_has_no_dark_border():
    columns = np.asarray(EXPOSURE.fuse_stack(handheld_bracket(), align=True)).mean(axis=0)
    assert columns[:5].mean() == pytest.approx(columns[20:60].mean(), rel=0.15)


def test_a_stack_that_was_moved_can_be_cropped_to_what_all_show(tmp_path):
    paths = [tmp_path / f"{index}.tif" for index in (1, 2, 0)]
    for index, frame in enumerate(handheld_bracket((2, 0, 1))):
        place = [(33550, "d", 3, (10.0, 10.0, 0.0), True), (33922, "d", 6, (0, 0, 0, index, 52.1, 0), True)]
        tifffile.imwrite(tmp_path / f"{index}.tif", frame, extratags=place)
    in_place = EXPOSURE.fuse_stack(paths, align=True)
    cropped = EXPOSURE.fuse_stack(paths, align=True, align_border="crop")
    whole, cut = np.asarray(in_place), np.asarray(cropped)
    assert whole.shape == (140, 200)
    assert cut.shape == pytest.approx((136, 194), abs=1)
    np.testing.assert_array_equal(cut, whole[-cut.shape[0] :, -cut.shape[1] :])
    # The others were moved, and the corner of the cropped one lies elsewhere.
    assert dict(in_place.picture.geo)[33922] == (0, 0, 0, 1, 52.1, 0)
    assert cropped.picture.geo == ()


def layered(sharp: np.ndarray, focus: float) -> np.ndarray:
    """A slope from far at the top to near at the bottom, through a lens that is focused on one depth."""
    depth = np.linspace(1, 0, len(sharp), dtype=np.float32)[:, None]
    total = weights = np.zeros_like(sharp)
    for layer in np.linspace(0, 1, 12):
        share = np.clip(1 - 11 * np.abs(depth - layer), 0, 1) * np.ones_like(sharp)
        radius = int(30 * abs(layer - focus))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.float32)
        total = total + cv2.filter2D(sharp * share, -1, disc / disc.sum())
        weights = weights + cv2.filter2D(share, -1, disc / disc.sum())
    return total / np.maximum(weights, 1e-6)


def test_frames_whose_scale_is_uncertain_are_aligned_by_a_simpler_motion():
    sharp = textured(1, 240, 320).astype(np.float32) / 255
    first, second = layered(sharp, 0), layered(sharp, 0.25)
    second = cv2.warpAffine(second, np.float32([[1, 0, 2.6], [0, 1, 1]]), (320, 240), borderMode=cv2.BORDER_REFLECT)
    pictures = [np.uint8(255 * np.clip(frame, 0, 1)) for frame in (first, second, second)]
    assert not estimate_alignment(*[View.of(read_picture(one)) for one in pictures[:2]], "similarity").sure
    notes = FOCUS.fuse_stack(pictures, align=True).notes
    assert "Image 2 was moved onto Image 1: euclidean" in " ".join(notes)
    still = np.uint8(255 * np.clip(layered(sharp, 0.25), 0, 1))
    (note,) = FOCUS.fuse_stack([pictures[0], still], align="similarity").notes
    assert "no euclidean alignment matches" in note
    assert "try --motion affine or homography" in note


def test_an_image_of_a_stack_is_moved_by_what_all_before_it_were_moved_and_more():
    scene = cv2.GaussianBlur(np.random.default_rng(0).random((240, 320), np.float32), (0, 0), 2)
    scene = (scene - scene.min()) / np.ptp(scene)
    aside = np.float32([[1, 0, 16], [0, 1, -12]])
    turned = cv2.getRotationMatrix2D((160, 120), 6, 1)
    second = cv2.warpAffine(scene, aside, (320, 240), borderMode=cv2.BORDER_REFLECT)
    sources = [scene, second, cv2.warpAffine(second, turned, (320, 240), borderMode=cv2.BORDER_REFLECT)]
    options = Options(align="euclidean")
    reading = options.reading(FOCUS.task)
    read = StackReader(sources, options, reading, [None] * 3, [f"Image {i}" for i in "123"], "euclidean", False)
    moved = [read(index).luminance for index in range(3)]
    for one in moved[1:]:
        assert np.abs(one - scene)[60:180, 80:240].mean() < 0.02


def scene(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.random((120, 160)).astype(np.float32), (0, 0), 2)
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def test_what_a_pair_is_told_a_stack_is_told():
    near, far = scene(), cv2.GaussianBlur(scene(), (0, 0), 1)
    apart = FOCUS.fuse_stack([near, np.roll(far, 12, 1), far]).notes
    assert any("pixels off" in note for note in apart)
    assert any("1 more image seems to lie off" in note for note in apart)
    twice = FOCUS.fuse_stack([near, far, near]).notes
    assert any("are the same image" in note for note in twice)
    assert FOCUS.fuse_stack([near, far, cv2.GaussianBlur(scene(), (0, 0), 2)]).notes == ()
    covered = FOCUS.fuse_stack([near, far, np.zeros_like(near)]).notes
    assert any("Image 3 is much darker (0.00 on average) than the others" in note for note in covered)
    red = np.stack([near, near // 2, near // 3], axis=-1)
    odd = FOCUS.fuse_stack([red, cv2.GaussianBlur(red, (0, 0), 1), far]).notes
    assert any("is grey and the others are in colour" in note for note in odd)
    half = FOCUS.fuse_stack([red, cv2.GaussianBlur(red, (0, 0), 1), near, far]).notes
    assert any("2 of the 4 images are grey (Image 3, Image 4) and the others are in colour" in note for note in half)


def test_slabs_as_the_sentence_says_add_no_contrast():
    stack = [np.clip(frame.astype(float) * 0.5 + 60, 0, 255).astype(np.uint8) for frame in frames(8)]
    stack = [cv2.GaussianBlur(stack[0], (0, 0), 0.3 + 0.2 * step) for step in range(8)]
    for task in ("multi-focus", "multi-exposure"):
        model = ReFusion.from_pretrained(f"refusion-{task}")
        level = stack
        while len(level) > 1:
            slabs = [level[i : i + 2] for i in range(0, len(level), 2)]
            level = [model.fuse_stack(slab, output_range="network").to_array() for slab in slabs]
        assert level[0].std() < 1.2 * model.fuse_stack(stack).to_array().std()


def test_a_stack_is_asked_for_in_every_way_that_people_type(tmp_path, monkeypatch):
    for number, frame in enumerate(frames(3)):
        Image.fromarray(frame).save(tmp_path / f"frame{number}.png")
    monkeypatch.chdir(tmp_path)
    command = ("-o", tmp_path / "f.png", "--task", "multi-focus")
    assert refusion("fuse", tmp_path / "frame*.png", *command).code == 0
    (tmp_path / "f.png").unlink()
    for given, words in (
        (["shot*.png"], "No file matches shot*.png"),
        (["."], "To fuse all images in it as one stack, name them"),
        (["."], 'give the pattern of the first sources and that of the second, as in --match "*_ir.*" "*_vis.*"'),
        (["frame0.png"], "only frame0.png was given"),
        (["frame0.png", "frame1.png", "frame9.png"], "There is no file frame9.png"),
    ):
        check_refused(refusion("fuse", *given, *command), words)


def test_a_full_folder_for_temporary_files_is_the_reason_that_is_given(tmp_path):
    path = tmp_path / "gone" / "0.npz"
    with pytest.raises(PictureError, match=r"folder for temporary files.*TMPDIR"):
        Layer(np.zeros((8, 8), np.float32), None).store(path)
