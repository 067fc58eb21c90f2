"""Videos made by PyAV, fused and looked at again."""

import shutil
import struct
from base64 import b64encode
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support.command import check_refused, refusion, small_model, stopped_after
from support.networks import small_network
from support.scenes import EXAMPLES, textured

from refusion.api import fuse_videos
from refusion.images import PictureError
from refusion.images.colour import join_colour
from refusion.images.video import Video
from refusion.images.video_writing import encode
from refusion.inference.network import fuse_luminance
from refusion.inference.video import RangeSmoother
from refusion.system.advice import without_options

av = pytest.importorskip("av")

MODEL = small_network()
RATE = 25


def write(
    path: Path,
    frames: list[np.ndarray],
    rate: int = RATE,
    *,
    sound: str = "",
    seconds: int = 1,
    about: dict[str, str] | None = None,
) -> Path:
    """Write a video, with some seconds of stereo sound if its codec is given, and with metadata."""
    options = {"movflags": "use_metadata_tags"} if about and any("." in key for key in about) else {}
    with av.open(str(path), "w", options=options) as container:
        container.metadata.update(about or {})
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "10"}
        if sound:
            audio = container.add_stream(sound, rate=16_000, layout="stereo")
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "gray" if frame.ndim == 2 else "rgb24")))
        container.mux(stream.encode())
        if sound:
            wave = (8000 * np.sin(np.arange(16_000 * seconds) / 20)).astype(np.int16)
            for start in range(0, len(wave), 1024):
                samples = np.repeat(wave[None, start : start + 1024], 2, axis=1)
                part = av.AudioFrame.from_ndarray(samples, "s16", "stereo")
                part.sample_rate, part.pts = 16_000, start
                container.mux(audio.encode(part))
            container.mux(audio.encode())
    return path


def read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def scene(seed: int, count: int, *, colour: bool = False) -> list[np.ndarray]:
    """A still scene with the noise of a camera."""
    rng = np.random.default_rng(seed)
    still = textured(seed).astype(float)
    frames = [np.clip(still + rng.normal(0, 3, still.shape), 0, 255).astype(np.uint8) for _ in range(count)]
    return [np.stack([f, f // 2 + 60, f // 2 + 40], axis=-1) for f in frames] if colour else frames


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    return (
        write(tmp_path / "ir.mp4", scene(1, 12)),
        write(tmp_path / "vis.mp4", scene(2, 10, colour=True), sound="aac"),
    )


def test_ctrl_c_says_that_no_video_was_written(pair, tmp_path):
    before = sorted(tmp_path.iterdir())
    with stopped_after(2):
        result = refusion("fuse", *pair, "-o", tmp_path / "fused.mp4", "--model", "refusion-ir-vis")
    assert (result.code, result.out) == (130, "")
    assert result.err == f"The run was stopped, so {tmp_path / 'fused.mp4'} was not written."
    assert sorted(tmp_path.iterdir()) == before


def test_two_videos_are_fused_with_their_sound(pair, tmp_path):
    seen = []
    notes = fuse_videos(pair, tmp_path / "f.mp4", model=MODEL, progress=lambda done, total: seen.append((done, total)))
    assert len(notes) == 1
    assert "ir.mp4 is longer than vis.mp4; the result ends with the latter, after 10 frames (0.40 s)" in notes[0]
    assert seen[-1] == (10, 10)
    frames = read(tmp_path / "f.mp4")
    assert len(frames) == 10
    ir, vis = (read(path)[0] for path in pair)
    expected = np.asarray(MODEL.fuse(ir[..., 0], vis), dtype=int)
    assert np.abs(frames[0] - expected).mean() < 12
    with av.open(str(tmp_path / "f.mp4")) as fused, av.open(str(pair[1])) as source:
        assert fused.streams.video[0].average_rate == RATE
        assert (fused.streams.video[0].width, fused.streams.video[0].height) == (64, 48)
        packets = [bytes(packet) for packet in fused.demux(audio=0) if packet.size]
        original = [bytes(packet) for packet in source.demux(audio=0) if packet.size]
        assert len(packets) > 3
        assert packets == original[: len(packets)]


@pytest.mark.parametrize(
    ("codec", "source", "target", "kept", "advice"),
    [
        ("libopus", ".mkv", ".mov", False, "; write a .mkv file to keep it."),
        ("flac", ".mkv", ".mov", False, "; write a .mkv file to keep it."),
        ("pcm_s24le", ".mkv", ".mp4", False, "; write a .mkv file to keep it."),
        ("libopus", ".mkv", ".avi", False, "; write a .mkv file to keep it."),
        ("pcm_mulaw", ".avi", ".mkv", False, " support it."),
        ("libopus", ".mkv", ".mp4", True, ""),
        ("flac", ".mkv", ".mkv", True, ""),
        ("pcm_s24le", ".mkv", ".mov", True, ""),
    ],
)
def test_sound_that_the_container_refuses_is_left_out(tmp_path, codec, source, target, kept, advice):
    ir = write(tmp_path / "ir.mp4", scene(1, 3))
    vis = write(tmp_path / f"vis{source}", scene(2, 3, colour=True), sound=codec)
    notes = fuse_videos([ir, vis], tmp_path / f"f{target}", model=MODEL)
    assert [f"The sound of vis{source} (" in note and note.endswith(advice) for note in notes] == [True] * (not kept)
    assert len(read(tmp_path / f"f{target}")) == 3
    with av.open(str(tmp_path / f"f{target}")) as container:
        assert len(container.streams.audio) == kept
        if kept:
            assert any(packet.size for packet in container.demux(audio=0))


def test_sound_that_a_container_refuses_late_is_left_out(tmp_path):
    """AVI counts this sound in longer ticks than it has, so that after two seconds two packets have one time."""
    vis = write(tmp_path / "vis.avi", scene(2, 80, colour=True), sound="adpcm_ms", seconds=3)
    notes: list[str] = []
    with Video(vis, 10**6) as video:
        encode(tmp_path / "f.avi", video.pictures(), video.rate, video.coding, video, notes)
    assert notes == ["The sound of vis.avi (adpcm_ms) is left out, since this container does not support it."]
    assert len(read(tmp_path / "f.avi")) == 80


ABOUT = {
    "creation_time": "2024-01-02T03:04:05.000000Z",
    "location": "+48.5000+009.0000/",
    "title": "A fox at night",
    "comment": "Seen twice",
}
CAMERA = {"make": "Maker", "model": "Camera 1"}


def about(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        return {key.lower(): value for key, value in container.metadata.items()}


@pytest.mark.parametrize(
    ("source", "target", "kept"),
    [
        (".mov", ".mov", ABOUT | CAMERA),
        (".mov", ".mp4", ABOUT),
        (".mov", ".mkv", ABOUT | CAMERA),
        (".mkv", ".mov", ABOUT | CAMERA),
        (".mov", ".avi", {key: ABOUT[key] for key in ("title", "comment")}),
    ],
)
def test_time_place_title_and_camera_are_kept(tmp_path, source, target, kept):
    ir = write(tmp_path / "ir.mp4", scene(1, 2), about={"title": "Heat", "artist": "Thermal"})
    said = ABOUT | CAMERA | {"encoder": "Old", "rotate": "90"}
    vis = write(tmp_path / f"vis{source}", scene(2, 2, colour=True), about=said)
    fuse_videos([ir, vis], tmp_path / f"f{target}", model=MODEL)
    found = about(tmp_path / f"f{target}")
    assert {key: value for key, value in found.items() if key in said | {"artist": ""} and key != "encoder"} == kept
    assert "Old" not in found.values()


def test_what_only_a_phone_names_so_gets_the_common_name_too(tmp_path):
    apple = "com.apple.quicktime."
    said = {f"{apple}make": "Apple", f"{apple}location.ISO6709": "+48.5000+009.0000/", f"{apple}software": "17"}
    vis = write(tmp_path / "vis.mov", scene(2, 2, colour=True), about=said)
    ir = write(tmp_path / "ir.mp4", scene(1, 2))
    fuse_videos([ir, vis], tmp_path / "f.mov", model=MODEL)
    found = about(tmp_path / "f.mov")
    assert (found["make"], found["location"]) == ("Apple", "+48.5000+009.0000/")
    fuse_videos([ir, vis], tmp_path / "f.mkv", model=MODEL)
    found = about(tmp_path / "f.mkv")
    assert found["make"] == found[f"{apple}make"] == "Apple"
    assert f"{apple}software" not in found


def test_metadata_are_of_the_source_that_those_of_images_come_from(tmp_path):
    grey = write(tmp_path / "grey.mp4", scene(1, 2), about={"title": "grey"})
    colour = write(tmp_path / "colour.mp4", scene(2, 2, colour=True), about={"title": "colour"})
    for sources, options, title in [
        ((grey, colour), {}, "colour"),
        ((colour, grey), {"task": "multi-exposure"}, "colour"),
        ((grey, grey), {"task": "multi-exposure"}, "grey"),
        ((grey, colour), {"chroma": "a"}, "grey"),
    ]:
        fuse_videos(sources, tmp_path / "f.mp4", model=MODEL, **options)
        assert about(tmp_path / "f.mp4")["title"] == title


def test_a_title_that_is_not_utf_8_is_no_obstacle(tmp_path):
    vis = write(tmp_path / "vis.avi", scene(2, 2, colour=True), about={"title": "Fuechse"})
    vis.write_bytes(vis.read_bytes().replace(b"Fuechse", b"F\xfcchse\0"))
    fuse_videos([vis, vis], tmp_path / "f.mp4", model=MODEL)
    assert about(tmp_path / "f.mp4")["title"] == "F\ufffdchse"


def test_one_video_side_by_side(pair, tmp_path):
    ir, vis = scene(1, 4), scene(2, 4)
    both = write(tmp_path / "both.mkv", [np.hstack(frames) for frames in zip(ir, vis, strict=True)])
    assert fuse_videos([both], tmp_path / "f.mkv", model=MODEL) == []
    frames = read(tmp_path / "f.mkv")
    assert len(frames) == 4
    expected = np.asarray(MODEL.fuse(ir[0], vis[0]), dtype=int)
    assert np.abs(frames[0][..., 0] - expected).mean() < 8


def test_the_range_does_not_flicker():
    rng = np.random.default_rng(0)
    a, b = (scene(seed, 24) for seed in (1, 2))
    # One hot pixel now and then, as thermal cameras have them.
    for frame in a[::5]:
        frame[rng.integers(48), rng.integers(64)] = 255
    pairs = [(x.astype(np.float32) / 255, y.astype(np.float32) / 255) for x, y in zip(a, b, strict=True)]
    fused = [0.2 + 0.5 * fuse_luminance(MODEL, x, y) for x, y in pairs]

    def flicker(frames: list[np.ndarray]) -> float:
        return float(np.abs(np.diff([frame.mean() for frame in frames])).mean())

    for output_range in ("stretch", "sources"):
        smooth, each = RangeSmoother(output_range, RATE), RangeSmoother(output_range, RATE, seconds=0)
        smoothed = [smooth(f, *pair) for f, pair in zip(fused, pairs, strict=True)]
        apart = [each(f, *pair) for f, pair in zip(fused, pairs, strict=True)]
        assert flicker(smoothed) < 0.5 * flicker(apart)


def test_a_change_of_light_is_followed():
    dark, bright = (textured(1).astype(np.float32) / 255 * factor for factor in (0.3, 1.0))
    smooth = RangeSmoother("robust", RATE)
    first = smooth(dark)
    for _ in range(10 * RATE):
        last = smooth(bright)
    assert np.abs(last - first).max() < 0.02


def test_what_does_not_fit_is_refused_and_nothing_is_left(pair, tmp_path):
    other_size = write(tmp_path / "small.mp4", [np.ascontiguousarray(f[:32, :32]) for f in scene(1, 5)])
    sound = tmp_path / "sound.mp4"
    sound.write_bytes(b"no video" + bytes(100))
    pointer, empty = tmp_path / "pointer.mp4", tmp_path / "empty.mkv"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    empty.touch()
    before = sorted(path.name for path in tmp_path.iterdir())
    for sources, words in [
        ((other_size, pair[1]), r"32 x 32.*64 x 48"),
        ((sound, pair[1]), r"sound\.mp4 is not a video that can be read, or it was not copied completely"),
        ((pointer, pair[1]), r"pointer\.mp4 is a Git LFS pointer and not the video itself\. Fetch the video with: git"),
        ((empty, pair[1]), r"empty\.mkv is an empty file"),
        ((tmp_path / "gone.mp4", pair[1]), r"no file gone\.mp4"),
    ]:
        with pytest.raises(PictureError, match=words):
            fuse_videos(sources, tmp_path / "f.mp4", model=MODEL)
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    with pytest.raises(ValueError, match=r"with align \(--align, --motion\), which is for images only: .* register"):
        fuse_videos(pair, tmp_path / "f.mp4", model=MODEL, align=True)
    with pytest.raises(PictureError, match=r"is 4 x 4 pixels; an image is at least 8 x 8"):
        fuse_videos([write(tmp_path / "tiny.mp4", [np.zeros((4, 4), np.uint8)]), pair[1]], tmp_path / "f.mp4")
    with pytest.raises(PictureError, match="at most 100 in total are accepted"):
        fuse_videos(pair, tmp_path / "f.mp4", model=MODEL, max_pixels=100)


def joined(path: Path, *parts: list[np.ndarray]) -> Path:
    """Clips joined byte by byte."""
    path.write_bytes(b"".join(write(path.with_name("part.ts"), frames).read_bytes() for frames in parts))
    return path


def enlarged(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [frame.repeat(2, axis=0).repeat(2, axis=1) for frame in frames]


CHANGE = "The size of vis.ts changes from 64 x 48 to 128 x 96 (width x height) after 0.20 s"


def test_a_change_of_the_size_is_said_and_nothing_is_left(tmp_path):
    ir = write(tmp_path / "ir.mp4", scene(1, 10))
    vis = joined(tmp_path / "vis.ts", scene(2, 5), enlarged(scene(2, 5)))
    turned = joined(tmp_path / "turned.ts", scene(2, 5), [np.ascontiguousarray(f.T) for f in scene(2, 5)])
    wide = joined(
        tmp_path / "wide.ts", *(change([np.hstack([f, f]) for f in scene(2, 5)]) for change in (list, enlarged))
    )
    done: list[int] = []
    with pytest.raises(PictureError) as error:
        fuse_videos([ir, vis], tmp_path / "f.mp4", model=MODEL, progress=lambda frames, _: done.append(frames))
    assert done == []  # It is said before anything is fused.
    assert str(error.value).startswith(f"{CHANGE}; scale its frames to one size first, or have them scaled (--resize")
    assert without_options(error.value) == f"{CHANGE}; scale its frames to one size first."
    with pytest.raises(PictureError, match=r"turned\.ts changes from 64 x 48 to 48 x 64 .* would distort .*; cut the"):
        fuse_videos([ir, turned], tmp_path / "f.mp4", model=MODEL, resize="a")
    with pytest.raises(PictureError, match=r"The size of wide\.ts changes from 128 x 48 to 256 x 96"):
        fuse_videos([wide], tmp_path / "f.mp4", model=MODEL)
    assert not (tmp_path / "f.mp4").exists()
    # The change comes after the last frame that is needed.
    short = write(tmp_path / "short.mp4", scene(1, 5))
    notes = fuse_videos([short, vis], tmp_path / "f.mp4", model=MODEL)
    assert not any("changes" in note for note in notes)


@pytest.mark.parametrize("resize", ["smaller", "larger", "a", "b"])
def test_frames_of_another_size_are_resized_to_the_first_with_one_note(tmp_path, resize):
    ir = write(tmp_path / "ir.mp4", enlarged(scene(1, 10)))
    vis = joined(tmp_path / "vis.ts", scene(2, 5), enlarged(scene(2, 5)))
    notes = fuse_videos([ir, vis], tmp_path / "f.mp4", model=MODEL, resize=resize)
    assert [note for note in notes if "size" in note] == [
        f"{CHANGE}; such frames are scaled to the size of the result."
    ]
    frames = read(tmp_path / "f.mp4")
    assert [frame.shape[:2] for frame in frames] == [(96, 128) if resize in ("larger", "a") else (48, 64)] * 10
    assert np.abs(frames[4].astype(int) - frames[5]).mean() < 8


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--crop"], "align_border (--crop), which is for images only: frames are fused whole; crop the videos first"),
        (["--motion", "affine"], "align (--align, --motion), which is for images only"),
        (["--window-a", "0", "9"], "which is for images only: frames have the range of their video; leave it out."),
    ],
)
def test_an_option_for_images_is_refused_with_what_to_do_instead(pair, tmp_path, flags, words):
    result = refusion("fuse", *pair, "-o", tmp_path / "f.mp4", *flags)
    assert result.code == 2
    assert words in result.err
    assert "Note:" not in result.err
    assert not (tmp_path / "f.mp4").exists()


def test_a_shorter_source_is_said_where_its_last_frame_ends_between_two_of_the_other(tmp_path):
    ir = moving(tmp_path / "ir.mkv", REGULAR, 8)
    vis = moving(tmp_path / "vis.mkv", [number / 30 for number in range(18)], 40, rate=30)
    notes = fuse_videos([ir, vis], tmp_path / "f.mkv", model=MODEL)
    assert "ir.mkv is longer than vis.mkv; the result ends with the latter, after 18 frames (0.60 s)" in notes[-1]


def test_a_coding_that_is_unknown_here_is_refused(pair, tmp_path):
    (tmp_path / "odd.mp4").write_bytes(pair[0].read_bytes().replace(b"avc1", b"xyz1").replace(b"avcC", b"xyzC"))
    with pytest.raises(PictureError, match=r"odd\.mp4 is damaged, or coded in a way that FFmpeg cannot decode here"):
        fuse_videos([tmp_path / "odd.mp4", pair[1]], tmp_path / "f.mp4", model=MODEL)


def test_damage_is_said(pair, tmp_path):
    content = bytearray(pair[1].read_bytes())
    with av.open(str(pair[1])) as container:
        first = next(container.demux(video=0))
        middle = first.pos + first.size // 2
    content[middle : middle + 600] = bytes(600)
    (tmp_path / "bad.mp4").write_bytes(content)
    notes = fuse_videos([pair[0], tmp_path / "bad.mp4"], tmp_path / "f.mp4", model=MODEL)
    assert "bad.mp4 is damaged: 1 frame could not be decoded without errors" in notes[-1]
    assert not any("damaged" in note for note in fuse_videos(pair, tmp_path / "f.mp4", model=MODEL))


@pytest.mark.parametrize(("change", "damaged"), [("none", 0), ("lost", 1), ("joined", 0)])
def test_packets_that_are_incomplete_are_counted(tmp_path, change, damaged):
    with av.open(str(tmp_path / "vis.ts"), "w") as container:
        stream = container.add_stream("mpeg2video", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in [*(av.VideoFrame.from_ndarray(frame, "gray") for frame in scene(2, 20)), None]:
            container.mux(stream.encode(frame))
    content = (tmp_path / "vis.ts").read_bytes()
    # Of the packets of 188 bytes, the first three are tables.
    lost = content[: 5 * 188] + content[6 * 188 :]
    (tmp_path / "vis.ts").write_bytes({"none": content, "lost": lost, "joined": 2 * content}[change])
    with Video(tmp_path / "vis.ts", 10**6) as video:
        assert list(video.pictures())
        assert video.damaged == damaged


def hevc(path: Path, count: int, *, since: int = 0) -> Path:
    """Write HEVC with B-frames across key frames, without the first packets."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        coding = "keyint=12:min-keyint=12:scenecut=0:bframes=4:b-adapt=0:open-gop=1:log-level=none"
        stream.options = {"x265-params": coding}
        frames = [*(av.VideoFrame.from_ndarray(frame, "gray") for frame in scene(2, count)), None]
        for packet in [packet for frame in frames for packet in stream.encode(frame)][since:]:
            container.mux(packet)
    return path


@pytest.mark.skipif("libx265" not in av.codecs_available, reason="needs an encoder of HEVC")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_frames_of_hevc_that_are_left_out_are_counted(tmp_path, suffix):
    whole = hevc(tmp_path / f"whole{suffix}", 40)
    with av.open(str(whole)) as container:
        keys = [index for index, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
    # From the second key frame on, the frames that are shown before it cannot be decoded, which is no damage.
    for path in (whole, hevc(tmp_path / f"later{suffix}", 40, since=keys[1])):
        with Video(path, 10**6) as video:
            assert list(video.pictures())
            assert video.damaged == 0
    if suffix == ".ts":
        return
    with av.open(str(whole)) as container:
        hit = [packet for packet in container.demux(video=0) if packet.size][14]
    content = bytearray(whole.read_bytes())
    # The length of the unit stays, and its header is wrong.
    content[hit.pos + 4 : hit.pos + 12] = bytes(8)
    bad = tmp_path / f"bad{suffix}"
    bad.write_bytes(content)
    with Video(bad, 10**6) as video:
        shown = len(list(video.pictures()))
        assert shown < 40
        assert video.damaged == 40 - shown
    notes = fuse_videos([bad, bad], tmp_path / "f.mkv", model=MODEL)
    assert sum(f"is damaged: {40 - shown} frame" in note for note in notes) == 2


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_file_with_its_index_first_that_was_cut_off_ends_too_early(tmp_path, suffix):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    moving(whole, [number / RATE for number in range(40)], 8, index_first=True)
    with av.open(str(whole)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    cut.write_bytes(whole.read_bytes()[: places[20]])
    for path, missing in ((whole, 0), (cut, 20 / RATE)):
        with Video(path, 10**6) as video:
            frames = len(list(video.pictures()))
            assert frames == 40 - missing * RATE
            assert video.missing == pytest.approx(missing, abs=0.01)


def test_a_matroska_file_that_was_cut_off_is_said(tmp_path):
    whole, cut = moving(tmp_path / "whole.mkv", [number / RATE for number in range(40)], 8), tmp_path / "cut.mkv"
    with av.open(str(whole)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    cut.write_bytes(whole.read_bytes()[: places[20]])
    for first, said in ((whole, False), (cut, True)):
        notes = fuse_videos([first, first], tmp_path / "f.mkv", model=MODEL)
        assert any("so it seems to be cut off; copy it again" in note for note in notes) == said


@pytest.mark.parametrize("codec", ["mjpeg", "libx264"])
def test_an_avi_file_that_was_cut_off_is_said_and_its_frames_are_counted(tmp_path, codec):
    whole, cut = tmp_path / "whole.avi", tmp_path / "cut.avi"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for frame in [*(av.VideoFrame.from_ndarray(frame, "gray") for frame in scene(2, 40)), None]:
            container.mux(stream.encode(frame))
    with av.open(str(whole)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    cut.write_bytes(whole.read_bytes()[: places[30]])
    for source, count in ((whole, 40), (cut, 30)):
        steps: list[tuple[int, int]] = []
        notes = fuse_videos(
            [source, source], tmp_path / "f.mkv", model=MODEL, progress=lambda *step, steps=steps: steps.append(step)
        )
        assert steps == [(done, count) for done in range(1, count + 1)]
        said = [note for note in notes if "ends 0.40 s before the time that it states, so it seems to be cut" in note]
        assert len(said) == (0 if source is whole else 2)


def test_frames_that_the_decoder_refuses_are_left_out_and_counted(tmp_path):
    ir = write(tmp_path / "ir.mp4", scene(1, 10))
    with av.open(str(tmp_path / "vis.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        frames = [av.VideoFrame.from_ndarray(frame, "gray") for frame in scene(2, 10)]
        for number, packet in enumerate(packet for frame in [*frames, None] for packet in stream.encode(frame)):
            if number in (0, 4, 5):
                packet, whole = av.Packet(bytes(packet.size)), packet
                packet.pts, packet.dts, packet.time_base = whole.pts, whole.dts, whole.time_base
                packet.stream = stream
            container.mux(packet)
    with Video(tmp_path / "vis.mkv", 10**6) as video:
        assert [round(frame.time * RATE) for frame in video.pictures()] == [0, 1, 2, 5, 6, 7, 8]
        assert video.damaged == 3
    notes = fuse_videos([ir, tmp_path / "vis.mkv"], tmp_path / "f.mp4", model=MODEL)
    assert "vis.mkv is damaged: 3 frames could not be decoded without errors" in notes[-1]


def test_videos_on_the_command_line(pair, tmp_path):
    model = small_model(tmp_path / "model")
    assert refusion("fuse", *pair, "-o", tmp_path / "f.mkv", "--model", model).code == 0
    assert len(read(tmp_path / "f.mkv")) == 10
    for arguments, words in [
        ([pair[0], "-o", tmp_path / "g.mp4"], "one with --side-by-side"),
        ([*pair, "-o", tmp_path / "g.png"], ".mp4"),
        ([*pair, "-o", pair[0]], "is one of the sources"),
        ([*pair, "-o", tmp_path / "g.mp4", "--align"], "--align"),
        ([*pair, "-o", tmp_path / "g.mp4", "--own-range"], "--own-range"),
        ([*pair, "-o", tmp_path / "g.mp4", "--nodata", "0"], "--nodata"),
        ([*pair, "-o", tmp_path / "g.mp4", "--window-a", "0", "9"], "--window-a"),
        ([EXAMPLES / "ir-vis_ir.png", pair[1], "-o", tmp_path / "g.mp4"], f"{pair[1]} is a video, and"),
    ]:
        check_refused(refusion("fuse", *arguments, "--model", model), words)


def test_what_has_no_effect_on_videos_is_said(pair, tmp_path):
    model = small_model(tmp_path / "model")
    result = refusion("fuse", pair[0], pair[0], "-o", tmp_path / "f.mkv", "--bits", "16", "--model", model)
    assert "Note: --bits changes nothing here" in result.err
    assert "Note: The first frames of ir.mp4 and ir.mp4 are the same picture." in result.err


def test_dark_thermal_counts_and_transparency_are_said(tmp_path):
    counts = 7000 + 3 * textured(1).astype(np.uint16)
    colours = np.stack([textured(seed) for seed in (2, 3, 4, 5)], axis=-1)
    for name, values, pix, codec in (("ir.mkv", counts, "gray16le", "ffv1"), ("vis.mov", colours, "rgba", "png")):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=RATE)
            stream.height, stream.width, stream.pix_fmt = *values.shape[:2], pix
            for _ in range(2):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(values, pix)))
            container.mux(stream.encode())
    notes = fuse_videos([tmp_path / "ir.mkv", tmp_path / "vis.mov"], tmp_path / "f.mp4", model=MODEL)
    assert any("ir.mkv uses only 7" in note and "--own-range" not in note for note in notes)
    assert "vis.mov has transparency, which is ignored." in notes


def test_the_notes_on_a_pair_of_images_are_given_for_videos(tmp_path):
    still = textured(1, 96, 128)
    colours = np.stack([still, still // 2 + 60, textured(3, 96, 128) // 2 + 40], axis=-1)
    grey = write(tmp_path / "grey.mp4", [still] * 2)
    shifted = write(tmp_path / "shifted.mp4", [np.roll(still, 16, axis=1)] * 2)
    dark = write(tmp_path / "dark.mp4", [still // 4] * 2)
    colour = write(tmp_path / "colour.mp4", [colours] * 2)
    both = write(tmp_path / "both.mp4", [np.hstack([colours, np.stack([still] * 3, axis=-1)])] * 2)

    def notes(*sources: Path, task: str = "ir-vis") -> str:
        return " ".join(fuse_videos(sources, tmp_path / "f.mp4", model=MODEL, task=task))

    assert notes(grey, colour) == ""
    assert "colour.mp4 is given as the infrared source but is a colour image" in notes(colour, grey)
    assert "both.mp4 (left) is given as the infrared source but is a colour image, and both.mp4 (right)" in notes(both)
    assert "grey.mp4 is given as the under-exposed source" in notes(grey, dark, task="multi-exposure")
    assert "colour.mp4 is given as the MRI but is coloured" in notes(grey, colour, task="medical")
    said = notes(grey, shifted)
    assert "shifted.mp4 seems to lie about 16 pixels off grey.mp4" in said
    assert said.endswith("register the two first.")
    assert "--align" not in said
    assert notes(grey, shifted, task="medical") == ""


def test_a_closed_shutter_does_not_hide_what_the_notes_are_on(tmp_path):
    counts = 7000 + 3 * textured(1).astype(np.uint16)
    closed = np.full_like(counts, 7000)
    with av.open(str(tmp_path / "ir.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *counts.shape, "gray16le"
        for values in (closed, closed, counts, counts):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, "gray16le")))
        container.mux(stream.encode())
    vis = write(tmp_path / "vis.mp4", scene(2, 4))
    notes = fuse_videos([tmp_path / "ir.mkv", vis], tmp_path / "f.mp4", model=MODEL)
    assert len([note for note in notes if "ir.mkv uses only 7" in note]) == 1
    black = write(tmp_path / "black.mp4", [np.zeros((48, 64), np.uint8)] * 3)
    assert "are the same picture" in " ".join(fuse_videos([black, black], tmp_path / "f.mp4", model=MODEL))


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
    fuse_videos([ir, vis], tmp_path / "g.mp4", model=MODEL, resize="b")
    assert shown(tmp_path / "g.mp4")[1]["size"] == (172, 48)
    assert shown(tmp_path / "g.mp4")[1]["aspect"] in (None, 1)


def moving(
    path: Path,
    times: list[float],
    row: int,
    *,
    rate=RATE,
    start: float = 0,
    sound: bool = False,
    index_first: bool = False,
) -> Path:
    """A mark that goes to the right by 200 pixels a second, seen at these times."""
    tick = Fraction(1, 1000)
    with av.open(str(path), "w", options={"movflags": "faststart"} if index_first else {}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.options = 240, 64, "yuv420p", {"crf": "10", "bf": "0"}
        stream.codec_context.time_base = tick
        audio = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for time in times:
            image = np.full((64, 240, 3), 40, np.uint8)
            image[row : row + 16, (place := int(10 + 200 * time)) : place + 8] = 250
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = round((time + start) * 1000), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for at in range(0, 16_000, 1024) if audio else ():
            part = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            part.sample_rate, part.pts, part.time_base = 16_000, at + round(start * 16_000), Fraction(1, 16_000)
            container.mux(audio.encode(part))
        if audio:
            container.mux(audio.encode())
    return path


def apart(path: Path) -> float:
    """How far apart the marks of both sources are, in pixels, at most."""

    def place(rows: np.ndarray) -> float:
        bright = np.maximum(rows.mean(0) - 60, 0)
        return float((bright * np.arange(len(bright))).sum() / bright.sum())

    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="gray").astype(float) for frame in container.decode(video=0)]
    return max(abs(place(frame[8:24]) - place(frame[40:56])) for frame in frames)


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


REGULAR = [number / RATE for number in range(24)]
UNEVEN = [number * 0.06 for number in range(12)] + [
    0.66 + round((number + 1) * 260 / 12) / 1000 for number in range(12)
]


@pytest.mark.parametrize("uneven", ["ir", "vis"])
def test_frames_of_one_moment_belong_together_whatever_their_numbers(tmp_path, uneven):
    times = {name: UNEVEN if name == uneven else REGULAR for name in ("ir", "vis")}
    ir = moving(tmp_path / "ir.mkv", times["ir"], 8)
    vis = moving(tmp_path / "vis.mkv", times["vis"], 40)
    fuse_videos([ir, vis], tmp_path / "f.mkv", model=MODEL, output_range="network", anchor="none")
    # Half of the time between two frames, and the size of a mark.
    assert apart(tmp_path / "f.mkv") < 200 * 0.03 + 4


def test_a_slower_camera_is_shown_repeatedly(tmp_path):
    ir = moving(tmp_path / "ir.mkv", REGULAR[::3], 8, rate=Fraction(RATE, 3))
    vis = moving(tmp_path / "vis.mkv", REGULAR, 40)
    notes = fuse_videos([ir, vis], tmp_path / "f.mkv", model=MODEL, output_range="network")
    assert "The frame rates differ (ir.mkv" in notes[0]
    assert times_of(tmp_path / "f.mkv") == pytest.approx(REGULAR, abs=0.002)
    assert apart(tmp_path / "f.mkv") < 200 * 0.08 + 4


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
def test_a_late_start_keeps_sound_and_image_in_step(tmp_path, suffix):
    ir = moving(tmp_path / "ir.mp4", REGULAR, 8)
    vis = moving(tmp_path / f"vis{suffix}", REGULAR, 40, start=1.4, sound=True)
    notes = fuse_videos([ir, vis], tmp_path / "f.mkv", model=MODEL, output_range="network")
    # The marks of both lie in different rows.
    assert [note for note in notes if "32 pixels off" not in note] == []
    times = times_of(tmp_path / "f.mkv")
    assert np.diff(times) == pytest.approx(1 / RATE, abs=0.002)
    with av.open(str(tmp_path / "f.mkv")) as container:
        sound = [float(packet.pts * packet.time_base) for packet in container.demux(audio=0) if packet.pts is not None]
    assert len(sound) >= 13
    assert sound[0] - times[0] == pytest.approx(0, abs=0.1)
    assert sound[-1] - times[-1] == pytest.approx(0, abs=0.1)


def test_time_goes_on_where_the_time_stamps_of_joined_clips_restart(tmp_path):
    ir = moving(tmp_path / "ir.mkv", REGULAR, 8)
    parts = []
    for name, first in (("one.ts", 0), ("two.ts", 12)):
        frames = [np.full((64, 240), 40, np.uint8) for _ in range(12)]
        for number, frame in enumerate(frames, first):
            frame[40:56, (place := int(10 + 200 * REGULAR[number])) : place + 8] = 250
        parts.append(write(tmp_path / name, frames, sound="aac").read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    notes = fuse_videos([ir, joined], tmp_path / "f.mkv", model=MODEL, output_range="network", anchor="none")
    assert "The time stamps of joined.ts restart once, as in clips joined byte by byte" in notes[-1]
    assert "its sound may be out of step" in notes[-1]
    assert np.diff(times_of(tmp_path / "f.mkv")) == pytest.approx([1 / RATE] * 23, abs=0.002)
    assert apart(tmp_path / "f.mkv") < 200 * 0.02 + 4
    with av.open(str(tmp_path / "f.mkv")) as container:
        sound = [float(packet.pts * packet.time_base) for packet in container.demux(audio=0) if packet.pts is not None]
    assert np.diff(sound).min() > 0
    assert np.diff(sound).max() < 0.1


def test_the_frames_of_an_avi_with_b_frames_come_at_their_times(tmp_path):
    """AVI numbers its packets in the order of decoding."""
    frames = [np.full((48, 160), 60, np.uint8) for _ in range(20)]
    for number, frame in enumerate(frames):
        frame[:, 8 * number : 8 * number + 8] = 230
    with Video(write(tmp_path / "moving.avi", frames), 10**6) as video:
        shown = list(video.pictures())
    assert [frame.time for frame in shown] == [Fraction(number, RATE) for number in range(20)]
    assert [int(frame.picture.luminance.mean(axis=0).argmax()) // 8 for frame in shown] == list(range(20))
