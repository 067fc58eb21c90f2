"""Depth, colours, direction and pixel shape of videos are kept."""

import shutil
import struct
from base64 import b64encode
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support.scenes import textured
from support.videos import MODEL, RATE, av, write

from refusion import fuse_videos
from refusion.images.colour import join_colour
from refusion.images.picture import NEUTRAL, Picture
from refusion.images.video import Video
from refusion.images.video_coding import WEIGHTS, Coding, Frame
from refusion.images.video_writing import encode

PATCHES = np.array(
    [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [16, 16, 16], [235, 235, 235], [200, 100, 50]]
)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("pix", "bits"),
    [("yuv420p", 8), ("yuvj420p", 8), ("yuv444p", 8), ("yuvj444p", 8), ("yuv422p10le", 10), ("yuv420p12le", 12)],
)
def test_samples_of_any_depth_and_layout(tmp_path, pix, bits, full):
    """Known samples, written without loss, are these colours (ITU-T H.273, equations 38 to 40) within two levels."""
    full |= "j" in pix
    red_share, blue_share = 0.2126, 0.0722
    red, green, blue = np.repeat(np.repeat(PATCHES.T[:, None] / 255, 16, axis=2), 32, axis=1)
    luma = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
    differences = (blue - luma) / (2 - 2 * blue_share), (red - luma) / (2 - 2 * red_share)
    unit, top = 2 ** (bits - 8), 2**bits - 1
    spans = (0, top, top) if full else (16 * unit, 219 * unit, 224 * unit)
    across, down = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}[pix[4:7] if "j" in pix else pix[3:6]]
    planes = [spans[0] + spans[1] * luma, *(128 * unit + spans[2] * d[::down, ::across] for d in differences)]
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264" if "j" in pix else "ffv1", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *luma.shape, pix
        stream.options = {"qp": "0"} if "j" in pix else {}
        context = stream.codec_context
        context.colorspace, context.color_range = 1, 2 if full else 1
        frame = av.VideoFrame(stream.width, stream.height, stream.pix_fmt)
        for plane, values in zip(frame.planes, planes, strict=True):
            rows = np.zeros((plane.height, plane.line_size), np.uint8).view("<u2" if bits > 8 else "u1")
            rows[:, : plane.width] = np.rint(values).clip(0, top)
            plane.update(rows)
        frame.colorspace, frame.color_range = 1, 2 if full else 1
        container.mux([*stream.encode(frame), *stream.encode()])
    with Video(tmp_path / "a.mkv", 10_000) as video:
        assert video.stream.codec_context.pix_fmt == pix
        assert video.coding.full == full
        assert video.coding.bits == min(bits, 10)
        (read_frame,) = video.pictures()
        encode(tmp_path / "b.mp4", [read_frame], video.rate, video.coding, None, [])
    with Video(tmp_path / "b.mp4", 10_000) as video:
        (written,) = video.pictures()
    for picture in (read_frame.picture, written.picture):
        middles = 255 * join_colour(picture.luminance, picture.chroma)[12:20, 6::16]
        np.testing.assert_allclose(middles.mean(0), PATCHES, atol=1.5 if picture is read_frame.picture else 4)


def write_coded(
    path: Path, image: np.ndarray, *, matrix=1, primaries=1, transfer=1, pix="yuv420p", full=False, **given
):
    """Three equal frames, coded by these numbers of H.273."""
    scaler = {6: 5}.get(matrix, matrix)
    span = 2 if full else 1
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt, stream.options = pix, {"crf": "4"}
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = matrix, primaries, transfer
        context.color_range = span
        for name, value in given.items():
            setattr(context, name, value)
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            container.mux(stream.encode(frame.reformat(format=pix, dst_colorspace=scaler, dst_color_range=span)))
        container.mux(stream.encode())
    return path


def shown(path: Path) -> tuple[np.ndarray, dict]:
    """The first frame as players show it, which go by what the file says, and what it says."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        scaler = {6: 5}.get(int(frame.colorspace), int(frame.colorspace))
        rgb = frame.reformat(format="rgb24", src_colorspace=scaler, src_color_range=int(frame.color_range)).to_ndarray()
        said = {
            "matrix": int(frame.colorspace),
            "primaries": int(frame.color_primaries),
            "transfer": int(frame.color_trc),
            "range": int(frame.color_range),
            "format": frame.format.name,
            "aspect": container.streams.video[0].sample_aspect_ratio,
            "size": (frame.width, frame.height),
        }
    return rgb, said


def bars(height: int = 48) -> np.ndarray:
    """Colours in broad bars, uint8 (height, 160, 3)."""
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 160, 130), (200, 40, 200)]
    return np.repeat(np.uint8([colours]), height, 0).repeat(32, 1)


def brightness(image: np.ndarray) -> np.ndarray:
    grey = np.rint(image @ [0.299, 0.587, 0.114]).astype(np.uint8)
    return np.stack([grey] * 3, -1)


@pytest.mark.parametrize(
    "coding",
    [
        {"matrix": 1, "primaries": 1, "transfer": 1},
        {"matrix": 6, "primaries": 6, "transfer": 6},
        {"matrix": 9, "primaries": 9, "transfer": 18, "pix": "yuv420p10le"},
        {"matrix": 9, "primaries": 9, "transfer": 16, "pix": "yuv420p10le"},
        {"matrix": 1, "full": True},
        {"matrix": 9, "primaries": 9, "transfer": 14, "pix": "yuv444p", "full": True},
    ],
)
def test_colours_and_what_is_said_of_them_are_kept(tmp_path, coding):
    vis = write_coded(tmp_path / "vis.mp4", bars(), **coding)
    ir = write_coded(tmp_path / "ir.mp4", brightness(bars()))
    fuse_videos([ir, vis], tmp_path / "f.mp4", model=MODEL, output_range="network", anchor="bounds")
    before, said_before = shown(vis)
    after, said_after = shown(tmp_path / "f.mp4")
    assert said_after == said_before | {"format": said_before["format"].replace("444", "420")}
    middles = slice(16, None, 32)
    assert np.abs(before[24, middles].astype(int) - after[24, middles]).max() <= 2


@pytest.mark.parametrize(
    ("chroma", "pix", "first"), [("a", "yuv420p", True), ("b", "yuv420p", False), ("saturation", "gray", True)]
)
def test_the_coding_is_that_of_the_source_of_the_colour(tmp_path, chroma, pix, first):
    a = write_coded(tmp_path / "a.mkv", bars(), matrix=9, primaries=9, transfer=14, pix="yuv420p10le")
    b = write_coded(tmp_path / "b.mkv", brightness(bars()), matrix=1, pix=pix)
    fuse_videos([a, b], tmp_path / "f.mkv", model=MODEL, task="medical", chroma=chroma, output_range="network")
    said, expected = (shown(path)[1] for path in (tmp_path / "f.mkv", a if first else b))
    assert said == expected


@pytest.mark.parametrize(("side", "matrix"), [(718, 6), (720, 1)])
def test_a_matrix_that_is_not_stated_is_that_of_hd_from_720_rows(tmp_path, side, matrix):
    frame = np.full((side, side), 90, np.uint8)
    with Video(write(tmp_path / "a.mp4", [frame]), 10**6) as video:
        assert video.coding.matrix == matrix


def test_colours_of_neighbours_are_averaged(tmp_path):
    chroma = np.stack([np.tile(np.float32([0.4, 0.6]), (48, 32)), np.tile(np.float32([[0.6], [0.4]]), (24, 64))])
    picture = Picture(np.full((48, 64), 0.5, np.float32), chroma, "a")
    encode(tmp_path / "a.mp4", [Frame(picture, Fraction(0))], Fraction(RATE), Coding(matrix=6), None, [])
    with Video(tmp_path / "a.mp4", 10_000) as video:
        (frame,) = video.pictures()
    assert frame.picture.chroma == pytest.approx(NEUTRAL, abs=0.01)


def test_samples_of_rgb_are_not_changed(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        frame = av.VideoFrame.from_ndarray(levels, "rgb24").reformat(format="bgr0")
        container.mux([*stream.encode(frame), *stream.encode()])
    with Video(tmp_path / "a.mkv", 10_000) as video:
        assert video.stream.codec_context.pix_fmt == "bgr0"
        (frame,) = video.pictures()
    colours = 255 * join_colour(frame.picture.luminance, frame.picture.chroma)
    assert np.abs(colours - levels).max() < 0.01


def test_colours_of_a_palette_are_read(tmp_path):
    index = np.repeat(np.arange(5, dtype=np.uint8), 32)[None].repeat(48, 0)
    palette = np.zeros((256, 4), np.uint8)
    palette[:5, 0], palette[:5, 1:] = 255, bars()[0, ::32]
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 48, 160, "pal8"
        container.mux(stream.encode(av.VideoFrame.from_ndarray((index, palette), "pal8")))
    with Video(tmp_path / "a.mov", 10_000) as video:
        assert video.stream.codec_context.pix_fmt == "pal8"
        (frame,) = video.pictures()
    colours = 255 * join_colour(frame.picture.luminance, frame.picture.chroma)
    assert np.abs(colours - bars()).max() < 0.01


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("pix", "top"), [("gray", 255), ("gray10le", 1023), ("gray16le", 65535)])
def test_grey_is_of_the_range_that_its_file_states(tmp_path, pix, top, full):
    levels = np.repeat(np.linspace(0.1, 0.9, 64)[None], 48, 0)
    stored = np.rint(top * (levels if full else (16 + 219 * levels) / 255)).astype(np.uint16 if top > 255 else np.uint8)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pix
        stream.codec_context.color_range = 2 if full else 1
        frame = av.VideoFrame.from_ndarray(stored, pix)
        frame.color_range = 2 if full else 1
        container.mux([*stream.encode(frame), *stream.encode()])
    with Video(tmp_path / "a.mkv", 10_000) as video:
        assert video.coding.full == full
        (read_frame,) = video.pictures()
    assert read_frame.picture.luminance == pytest.approx(levels, abs=1 / 255)


READ_PIXELS = """async ([address, xs]) => {
  const video = document.createElement('video');
  document.body.append(video);
  const painted = new Promise((done) => video.requestVideoFrameCallback(done));
  await new Promise((done, fail) => {
    video.onloadeddata = done;
    video.onerror = () => fail(new Error(video.error.message));
    video.src = address;
  });
  await painted;
  const canvas = Object.assign(document.createElement('canvas'), { width: video.videoWidth, height: 1 });
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, -24);
  return xs.map((x) => [...context.getImageData(x, 0, 1, 1).data].slice(0, 3));
}"""


@pytest.fixture(scope="module")
def browser_page():
    playwright = pytest.importorskip("playwright.sync_api")
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


@pytest.mark.browser
@pytest.mark.parametrize(
    "coding",
    [
        {"matrix": 1, "primaries": 1, "transfer": 1},
        {"matrix": 9, "primaries": 9, "transfer": 18, "pix": "yuv420p10le"},
        {"matrix": 9, "primaries": 9, "transfer": 16, "pix": "yuv420p10le"},
    ],
    ids=["BT.709", "HLG", "PQ"],
)
def test_a_browser_shows_the_colours_of_the_source(browser_page, tmp_path, coding):
    vis = write_coded(tmp_path / "vis.mp4", bars(), **coding)
    ir = write_coded(tmp_path / "ir.mp4", brightness(bars()))
    fuse_videos([ir, vis], tmp_path / "f.mp4", model=MODEL, output_range="network", anchor="bounds")
    before, after = (
        np.array(browser_page.evaluate(READ_PIXELS, [f"data:video/mp4;base64,{data}", list(range(16, 160, 32))]))
        for data in (b64encode(path.read_bytes()).decode() for path in (vis, tmp_path / "f.mp4"))
    )
    assert np.ptp(before) > 100
    assert np.abs(before - after).max() <= 2, (before, after)


def rotated(path: Path, degrees: int) -> Path:
    """The same stream with the flag of a phone that was held upright."""
    turned = path.with_name(f"turned-{path.name}")
    with av.open(str(path)) as source, av.open(str(turned), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(degrees)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return turned


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_what_lies_on_its_side_is_turned_upright(tmp_path, degrees):
    image = bars()
    image[:16, :64] = 255
    turns = degrees // 90
    lying = rotated(write_coded(tmp_path / "lying.mp4", np.ascontiguousarray(np.rot90(image, -turns))), degrees)
    upright = write_coded(tmp_path / "upright.mp4", image)
    fuse_videos([upright, lying], tmp_path / "f.mp4", model=MODEL, output_range="network", anchor="bounds")
    with av.open(str(tmp_path / "f.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.rotation == 0
    found, _ = shown(tmp_path / "f.mp4")
    assert found.shape == image.shape
    assert np.abs(found.astype(int) - image).mean() < 5


@pytest.mark.parametrize(
    ("matrix", "seen"),
    [
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.T),
        ((0, -1, -1, 0), lambda image: image[::-1, ::-1].T),
        ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
    ],
)
def test_what_is_mirrored_is_seen_as_players_show_it(tmp_path, matrix, seen):
    content = bytearray(write(tmp_path / "a.mp4", [textured(1)] * 2).read_bytes())
    header = content.index(b"tkhd") + 4
    # ISO 14496-12, 8.3.2: the matrix follows the version, the times, the duration and 16 bytes more.
    at = header + 4 + (32 if content[header] else 20) + 16
    with Video(tmp_path / "a.mp4", 10_000) as video:
        plain = next(video.pictures()).picture.luminance
    a, b, c, d = matrix
    struct.pack_into(">9i", content, at, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    (tmp_path / "mirrored.mp4").write_bytes(content)
    with Video(tmp_path / "mirrored.mp4", 10_000) as video:
        picture = next(video.pictures()).picture
        assert video.size == picture.size
    np.testing.assert_array_equal(picture.luminance, seen(plain))


def test_odd_sides_lose_nothing(tmp_path):
    image = bars(45)[:, :159]
    image[-1] = image[:, -1] = 255
    for name in ("ir", "vis"):
        write_coded(tmp_path / f"{name}.mkv", np.ascontiguousarray(image), pix="yuv444p")
    notes = fuse_videos(
        [tmp_path / "ir.mkv", tmp_path / "vis.mkv"], tmp_path / "f.mkv", model=MODEL, output_range="network"
    )
    assert "has an odd side" in notes[0]
    found, said = shown(tmp_path / "f.mkv")
    assert said["size"] == (160, 46)
    assert found[-2:, :, 1].mean() > 230
    assert found[:, -2:, 1].mean() > 230


def test_the_shape_of_pixels_is_kept(tmp_path):
    wide = {"sample_aspect_ratio": Fraction(16, 15)}
    ir = write_coded(tmp_path / "ir.mp4", brightness(bars()), **wide)
    vis = write_coded(tmp_path / "vis.mp4", bars(), **wide)
    fuse_videos([ir, vis], tmp_path / "f.mp4", model=MODEL)
    assert shown(tmp_path / "f.mp4")[1]["aspect"] == Fraction(16, 15)
    # One of 160 wide pixels is as broad as one of 170 or 171 square ones.
    square = np.ascontiguousarray(np.pad(bars(), ((0, 0), (0, 11), (0, 0)), "edge"))
    vis = write_coded(tmp_path / "square.mp4", square[:, :171], pix="yuv444p")
    for pair, resize in (((ir, vis), "b"), ((vis, ir), "a")):
        fuse_videos(pair, tmp_path / "g.mp4", model=MODEL, resize=resize)
        said = shown(tmp_path / "g.mp4")[1]
        assert said["size"] == (172, 48)
        assert said["aspect"] in (None, 0, 1)  # PyAV 19 gives 0 if none is stated, older ones None.


@pytest.mark.parametrize(("degrees", "aspect"), [(90, Fraction(3, 4)), (-90, Fraction(3, 4)), (180, Fraction(4, 3))])
def test_wide_pixels_are_high_when_they_are_turned(tmp_path, degrees, aspect):
    lying = rotated(write_coded(tmp_path / "a.mp4", bars(), sample_aspect_ratio=Fraction(4, 3)), degrees)
    with Video(lying, 10_000) as video:
        assert video.coding.aspect == aspect
        encode(tmp_path / "b.mp4", video.pictures(), video.rate, video.coding, None, [])
    with Video(tmp_path / "b.mp4", 10_000) as video:
        assert video.coding.aspect == aspect


def test_weights_are_those_of_the_standard():
    """ITU-T H.273, table 4."""
    recommended = {"BT.709": (0.2126, 0.0722), "FCC": (0.30, 0.11), "BT.601": (0.299, 0.114)}
    recommended |= {"SMPTE 240M": (0.212, 0.087), "BT.2020": (0.2627, 0.0593)}
    numbers = {1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020", 10: "BT.2020"}
    assert {number: recommended[name] for number, name in numbers.items()} == WEIGHTS
