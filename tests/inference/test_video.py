"""Videos made by PyAV, fused and looked at again."""

from pathlib import Path

import numpy as np
import pytest
from support.command import refusion, stopped_after
from support.scenes import textured
from support.videos import MODEL, RATE, REGULAR, av, enlarged, joined, moving, read, scene, write

from refusion import fuse_videos
from refusion.images import PictureError
from refusion.images.picture import Picture
from refusion.images.video import Video, halves
from refusion.images.video_writing import encode
from refusion.inference.network import fuse_luminance
from refusion.inference.video import RangeSmoother
from refusion.system.advice import without_options


def test_ctrl_c_says_that_no_video_was_written(video_pair, tmp_path):
    before = sorted(tmp_path.iterdir())
    with stopped_after(2):
        result = refusion("fuse", *video_pair, "-o", tmp_path / "fused.mp4", "--model", "refusion-ir-vis")
    assert (result.code, result.out) == (130, "")
    assert result.err == f"The run was stopped, so {tmp_path / 'fused.mp4'} was not written."
    assert sorted(tmp_path.iterdir()) == before


def test_two_videos_are_fused_with_their_sound(video_pair, tmp_path):
    seen = []
    notes = fuse_videos(
        video_pair, tmp_path / "f.mp4", model=MODEL, progress=lambda done, total: seen.append((done, total))
    )
    assert len(notes) == 1
    assert "ir.mp4 is longer than vis.mp4; the result ends with the latter, after 10 frames (0.40 s)" in notes[0]
    assert seen[-1] == (10, 10)
    frames = read(tmp_path / "f.mp4")
    assert len(frames) == 10
    ir, vis = (read(path)[0] for path in video_pair)
    expected = np.asarray(MODEL.fuse(ir[..., 0], vis), dtype=int)
    assert np.abs(frames[0] - expected).mean() < 12
    with av.open(str(tmp_path / "f.mp4")) as fused, av.open(str(video_pair[1])) as source:
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


@pytest.mark.parametrize(("of_ir", "of_vis", "kept"), [("flac", "aac", "aac"), ("flac", "", "flac"), ("", "", None)])
def test_the_sound_is_that_of_the_second_video_if_it_has_any(tmp_path, of_ir, of_vis, kept):
    ir = write(tmp_path / "ir.mkv", scene(1, 3), sound=of_ir)
    vis = write(tmp_path / "vis.mkv", scene(2, 3, colour=True), sound=of_vis)
    fuse_videos([ir, vis], tmp_path / "f.mkv", model=MODEL)
    with av.open(str(tmp_path / "f.mkv")) as container:
        assert [stream.codec_context.name for stream in container.streams.audio] == [kept] * (kept is not None)


def test_the_sound_ends_with_the_picture(tmp_path):
    ir = write(tmp_path / "ir.mkv", scene(1, 10))
    vis = write(tmp_path / "vis.mkv", scene(2, 10, colour=True), sound="pcm_s16le", seconds=3)
    fuse_videos([ir, vis], tmp_path / "f.mkv", model=MODEL)
    with av.open(str(tmp_path / "f.mkv")) as container:
        end = max(float((one.pts + one.duration) * one.time_base) for one in container.demux(audio=0) if one.size)
    assert end == pytest.approx(10 / RATE, abs=2 * 1024 / 16_000)


def sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_sound_that_a_container_refuses_late_is_left_out(tmp_path):
    """AVI counts this sound in longer ticks than it has, so that after two seconds two packets have one time.

    The FFmpeg of PyAV 19 does not refuse it any more.
    """
    vis = write(tmp_path / "vis.avi", scene(2, 80, colour=True), sound="adpcm_ms", seconds=3)
    notes: list[str] = []
    with Video(vis, 10**6) as video:
        encode(tmp_path / "f.avi", video.pictures(), video.rate, video.coding, video, notes)
    if notes:
        assert notes == ["The sound of vis.avi (adpcm_ms) is left out, since this container does not support it."]
    else:
        assert sound_packets(tmp_path / "f.avi") == sound_packets(vis)
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


def test_one_video_side_by_side(video_pair, tmp_path):
    ir, vis = scene(1, 4), scene(2, 4)
    both = write(tmp_path / "both.mkv", [np.hstack(frames) for frames in zip(ir, vis, strict=True)])
    assert fuse_videos([both], tmp_path / "f.mkv", model=MODEL) == []
    frames = read(tmp_path / "f.mkv")
    assert len(frames) == 4
    expected = np.asarray(MODEL.fuse(ir[0], vis[0]), dtype=int)
    assert np.abs(frames[0][..., 0] - expected).mean() < 8


def test_halves_of_an_odd_width_leave_out_the_middle():
    columns = np.tile(np.arange(21, dtype=np.float32) / 20, (8, 1))
    left, right = halves(Picture(columns, np.stack([columns, columns]), "both.mp4"))
    assert (left.size, right.size) == ((10, 8), (10, 8))
    assert np.array_equal(left.chroma[1], columns[:, :10])
    assert np.array_equal(right.chroma[0], columns[:, 11:])
    assert np.array_equal(right.luminance, columns[:, 11:])


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


@pytest.mark.parametrize("seconds", [0.4, 2])
def test_the_time_constant_is_in_seconds(seconds):
    """The white point has followed 63 % of a step from 0.25 to 1 after that time."""
    levels = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(48, 64)
    smooth = RangeSmoother("stretch", RATE, seconds)
    smooth(levels / 4)
    for _ in range(round(seconds * RATE)):
        last = smooth(levels)
    white = 1 - 0.75 * np.exp(-1)
    assert last[levels < 0.7] == pytest.approx(levels[levels < 0.7] / white, abs=0.01)


def test_a_change_of_light_is_followed():
    dark, bright = (textured(1).astype(np.float32) / 255 * factor for factor in (0.3, 1.0))
    smooth = RangeSmoother("robust", RATE)
    first = smooth(dark)
    for _ in range(10 * RATE):
        last = smooth(bright)
    assert np.abs(last - first).max() < 0.02


def test_what_does_not_fit_is_refused_and_nothing_is_left(video_pair, tmp_path):
    other_size = write(tmp_path / "small.mp4", [np.ascontiguousarray(f[:32, :32]) for f in scene(1, 5)])
    sound = tmp_path / "sound.mp4"
    sound.write_bytes(b"no video" + bytes(100))
    pointer, empty = tmp_path / "pointer.mp4", tmp_path / "empty.mkv"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    empty.touch()
    before = sorted(path.name for path in tmp_path.iterdir())
    for sources, words in [
        ((other_size, video_pair[1]), r"32 x 32.*64 x 48"),
        ((sound, video_pair[1]), r"sound\.mp4 is not a video that can be read, or it was not copied completely"),
        (
            (pointer, video_pair[1]),
            r"pointer\.mp4 is a Git LFS pointer and not the video itself\. Fetch the video with: git",
        ),
        ((empty, video_pair[1]), r"empty\.mkv is an empty file"),
        ((tmp_path / "gone.mp4", video_pair[1]), r"no file gone\.mp4"),
    ]:
        with pytest.raises(PictureError, match=words):
            fuse_videos(sources, tmp_path / "f.mp4", model=MODEL)
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    with pytest.raises(ValueError, match=r"with align \(--align, --motion\), which is for images only: .* register"):
        fuse_videos(video_pair, tmp_path / "f.mp4", model=MODEL, align=True)
    with pytest.raises(PictureError, match=r"is 4 x 4 pixels; an image is at least 8 x 8"):
        fuse_videos([write(tmp_path / "tiny.mp4", [np.zeros((4, 4), np.uint8)]), video_pair[1]], tmp_path / "f.mp4")
    with pytest.raises(PictureError, match="at most 100 in total are accepted"):
        fuse_videos(video_pair, tmp_path / "f.mp4", model=MODEL, max_pixels=100)


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
def test_an_option_for_images_is_refused_with_what_to_do_instead(video_pair, tmp_path, flags, words):
    result = refusion("fuse", *video_pair, "-o", tmp_path / "f.mp4", *flags)
    assert result.code == 2
    assert words in result.err
    assert "Note:" not in result.err
    assert not (tmp_path / "f.mp4").exists()


def test_a_shorter_source_is_said_where_its_last_frame_ends_between_two_of_the_other(tmp_path):
    ir = moving(tmp_path / "ir.mkv", REGULAR, 8)
    vis = moving(tmp_path / "vis.mkv", [number / 30 for number in range(18)], 40, rate=30)
    notes = fuse_videos([ir, vis], tmp_path / "f.mkv", model=MODEL)
    assert "ir.mkv is longer than vis.mkv; the result ends with the latter, after 18 frames (0.60 s)" in notes[-1]


def test_a_coding_that_is_unknown_here_is_refused(video_pair, tmp_path):
    (tmp_path / "odd.mp4").write_bytes(video_pair[0].read_bytes().replace(b"avc1", b"xyz1").replace(b"avcC", b"xyzC"))
    with pytest.raises(PictureError, match=r"odd\.mp4 is damaged, or coded in a way that FFmpeg cannot decode here"):
        fuse_videos([tmp_path / "odd.mp4", video_pair[1]], tmp_path / "f.mp4", model=MODEL)
