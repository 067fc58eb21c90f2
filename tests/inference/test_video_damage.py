"""Damaged and cut off videos, made by PyAV, are fused as far as they can be, with a note."""

import pytest
from support.videos import MODEL, RATE, av, hevc, moving, scene, write

from refusion import fuse_videos
from refusion.images.video import Video


def test_damage_is_said(video_pair, tmp_path):
    content = bytearray(video_pair[1].read_bytes())
    with av.open(str(video_pair[1])) as container:
        first = next(container.demux(video=0))
        middle = first.pos + first.size // 2
    content[middle : middle + 600] = bytes(600)
    (tmp_path / "bad.mp4").write_bytes(content)
    notes = fuse_videos([video_pair[0], tmp_path / "bad.mp4"], tmp_path / "f.mp4", model=MODEL)
    assert "bad.mp4 is damaged: 1 frame could not be decoded without errors" in notes[-1]
    assert not any("damaged" in note for note in fuse_videos(video_pair, tmp_path / "f.mp4", model=MODEL))


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


@pytest.mark.parametrize(("suffix", "start", "long"), [(".mp4", 0, False), (".mov", 0, False), (".mp4", 1.4, True)])
def test_a_file_with_its_index_first_that_was_cut_off_ends_too_early(tmp_path, suffix, start, long):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    moving(whole, [number / RATE for number in range(40)], 8, start=start, index_first=True)
    if long:
        # A length of 64 bits, as boxes of 4 GB have; FFmpeg leaves room for it.
        content = whole.read_bytes()
        at = content.index(b"\0\0\0\x08free") + 8
        length = 8 + int.from_bytes(content[at : at + 4], "big")
        whole.write_bytes(content[: at - 8] + b"\0\0\0\1mdat" + length.to_bytes(8, "big") + content[at + 8 :])
    with av.open(str(whole)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    cut.write_bytes(whole.read_bytes()[: places[20]])
    for path, missing in ((whole, 0), (cut, 20 / RATE)):
        with Video(path, 10**6) as video:
            frames = len(list(video.pictures()))
            assert frames == 40 - missing * RATE
            assert video.missing == pytest.approx(missing, abs=0.01)


def test_a_matroska_file_of_hours_that_was_cut_off_misses_them(tmp_path):
    whole, cut = moving(tmp_path / "whole.mkv", [0, 0.04, 0.08, 3_900, 3_900.04], 8), tmp_path / "cut.mkv"
    with av.open(str(whole)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    cut.write_bytes(whole.read_bytes()[: places[3]])
    with Video(cut, 10**6) as video:
        assert len(list(video.pictures())) == 3
        assert video.missing == pytest.approx(3_900, abs=1)


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
