"""JPEG XL: what the header says, metadata in boxes, colours, and what is refused."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import ExifTags, Image
from support.scenes import textured

from refusion.images import PictureError, read_picture, to_array
from refusion.images.colour import join_colour
from refusion.images.exif import loaded_tags
from refusion.images.jpeg_xl import Header, read_header, stated_size

GREY = textured(3)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=2)


def written(values, **options):
    return imagecodecs.jpegxl_encode(values, **options)


def box(kind, content):
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def from_jpeg(**options):
    """A JPEG that was packed without loss, as libjxl does; it has its EXIF data and its profile."""
    file = io.BytesIO()
    Image.fromarray(COLOUR).save(file, "JPEG", quality=95, subsampling=0, **options)
    return imagecodecs.jpegxl_encode_jpeg(file.getvalue(), usecontainer=True)


def bits_of(*fields):
    """The bits of some fields (number, count), from the lowest one."""
    return [number >> place & 1 for number, count in fields for place in range(count)]


def kind(number):
    """The fields of a kind (ISO/IEC 18181-1, B.2.5)."""
    return [(number, 2)] if number < 2 else [(2, 2), (number - 2, 4)] if number < 18 else [(3, 2), (number - 18, 6)]


def rewritten(values, at, *fields):
    """A lossless image of 8 bits whose one bit at this place of its header gives way to some fields."""
    content = written(values)
    header = [content[2 + place // 8] >> place % 8 & 1 for place in range(24)]
    # Behind the colours are 2 bits of extensions and 1 of transforms; the frame begins with a whole byte.
    end = COLOURS + 4 + (2 if values.ndim == 3 and values.shape[2] == 4 else 0)
    assert header[at] == 1
    bits = header[:at] + bits_of(*fields) + header[at + 1 : end]
    bits += [0] * (-len(bits) % 8)
    start = bytes(sum(bit << place for place, bit in enumerate(bits[i : i + 8])) for i in range(0, len(bits), 8))
    return content[:2] + start + content[2 + (end + 7) // 8 :]


COLOURS, EXTRA_CHANNEL = 18, 17
"""Where the header of such an image of 64 x 48 says that its colours, or its extra channel, have their defaults."""


def exif(orientation):
    tags = Image.Exif()
    tags[ExifTags.Base.Make], tags[ExifTags.Base.Orientation] = "A camera", orientation
    return tags.tobytes()


@pytest.mark.parametrize("size", [(8, 8), (256, 256), (9, 700), (300, 200), (320, 180), (70_000, 9)])
def test_the_size_is_that_in_the_header(size):
    content = written(np.zeros(size[::-1], np.uint8))
    assert stated_size(content[:32]) == size
    assert read_header(written(np.zeros(size[::-1], np.uint8), usecontainer=True)).size == size


def test_a_header_that_claims_more_than_is_accepted_is_refused_at_once():
    content = written(np.zeros((400, 600), np.uint8))[:40]
    with pytest.raises(PictureError, match="600 x 400 pixels, but at most 1,000"):
        read_picture(content, max_pixels=1000)


@pytest.mark.parametrize(
    ("values", "options", "header"),
    [
        (GREY, {}, {"bits": 8}),
        (GREY >> 4, {"bitspersample": 4}, {"bits": 4}),
        (COLOUR, {"level": 90}, {"bits": 8}),
        (COLOUR.astype(np.uint16) * 4, {"bitspersample": 10}, {"bits": 10, "colours": "linear colours"}),
        (np.dstack([COLOUR, GREY]), {}, {"bits": 8, "channels": 1, "alpha": True}),
        ((GREY / 255).astype(np.float16), {}, {"bits": 0, "colours": "linear colours"}),
    ],
    ids=["8 bits", "4 bits", "lossy", "10 bits", "alpha", "floats"],
)
def test_the_header_says_how_values_are_stored(values, options, header):
    assert read_header(written(values, **options)) == Header(values.shape[1::-1], **header)


def test_bits_alpha_and_lossy_colours():
    scale = (1 << 10) - 1
    ten = np.linspace(0, scale, GREY.size).reshape(GREY.shape).round().astype(np.uint16)
    np.testing.assert_allclose(read_picture(written(ten, bitspersample=10)).luminance, ten / scale, atol=1e-6)
    four = read_picture(written(GREY >> 4, bitspersample=4))
    assert four.bits == 8
    np.testing.assert_allclose(four.luminance, (GREY >> 4) / 15, atol=1e-6)
    for values in (np.dstack([GREY, 255 - GREY]), np.dstack([GREY, GREY, GREY, 255 - GREY])):
        picture = read_picture(written(values))
        np.testing.assert_allclose(picture.alpha, (255 - GREY) / 255, atol=1e-6)
        np.testing.assert_allclose(picture.luminance, GREY / 255.0 * picture.alpha, atol=1e-6)
    lossy = to_array(read_picture(written(COLOUR, level=95)))
    assert np.abs(lossy.astype(int) - COLOUR).mean() < 4


def test_floats_beyond_one_need_a_window():
    content = written((GREY / 100).astype(np.float32))
    with pytest.raises(PictureError, match="floats must be in 0 to 1"):
        read_picture(content)
    assert read_picture(content, window=(0, 2.55)).luminance.max() == pytest.approx(GREY.max() / 255, abs=1e-6)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_packed_jpeg_is_turned_upright_once_and_keeps_its_exif_data(orientation):
    picture = read_picture(from_jpeg(exif=exif(orientation)))
    upright = COLOUR if orientation == 1 else np.rot90(COLOUR, -1)
    assert np.abs(to_array(picture).astype(int) - upright).mean() < 4
    assert loaded_tags(picture.exif) == {ExifTags.Base.Make: "A camera"}


def test_exif_data_that_are_not_compressed_are_read_and_damaged_ones_are_not():
    content = written(GREY, usecontainer=True)
    tags = exif(1).removeprefix(b"Exif\0\0")
    for inner in (bytes(4) + tags, b"\0\0\0\6Exif\0\0" + tags, b"\0\0\0\3pad" + tags, tags):
        assert loaded_tags(read_picture(content + box(b"Exif", inner)).exif) == {ExifTags.Base.Make: "A camera"}
    for damaged in (box(b"Exif", b"\0"), box(b"brob", b"Exif and no Brotli")):
        assert read_picture(content + damaged).exif is None


def test_a_profile_and_linear_colours_are_noted():
    packed = read_picture(from_jpeg(icc_profile=imagecodecs.cms_profile("adobergb")))
    assert [note for note in packed.notes if "declares colours by an ICC profile: the values are used as st" in note]
    deep = COLOUR.astype(np.uint16) * 257
    assert "declares linear colours" in read_picture(written(deep)).notes[0]
    assert not read_picture(written(deep[..., 0])).notes + read_picture(written(COLOUR)).notes


POINT = [(0, 2), (5, 19), (3, 2), (5, 21)]


@pytest.mark.parametrize(
    ("white", "primaries", "transfer", "said"),
    [
        (kind(1), kind(1), kind(13), None),
        (kind(1), kind(9), kind(18), "BT.2020 and HLG colours"),
        (kind(1), kind(11), kind(16), "P3 and PQ colours"),
        (kind(1), kind(1), kind(8), "linear colours"),
        (kind(2) + POINT, kind(2) + 3 * POINT, kind(16), "custom and PQ colours"),
    ],
    ids=str,
)
def test_colours_are_called_by_their_names(white, primaries, transfer, said):
    gamma, intent = (0, 1), kind(1)
    content = rewritten(COLOUR, COLOURS, (0, 1), (0, 1), *kind(0), *white, *primaries, gamma, *transfer, *intent)
    assert read_header(content).colours == (said or "")


def test_wide_colours_are_noted_and_used_as_stored():
    declared = [(0, 1), (0, 1), *kind(0), *kind(1), *kind(9), (0, 1), *kind(16), *kind(1)]
    picture = read_picture(rewritten(COLOUR, COLOURS, *declared))
    assert "declares BT.2020 and PQ colours: the values are used as stored" in picture.note
    np.testing.assert_array_equal(to_array(picture), COLOUR)


def test_a_gamma_is_no_kind_of_colours():
    """Its number, here 1 / 2.2, is not taken for the kind of a transfer function, whose bits would mean linear."""
    number = (6 << 2) | 2 | (4545454 & ~63)
    declared = [(0, 1), (0, 1), *kind(0), *kind(1), *kind(1), (1, 1), (number, 24), *kind(1)]
    assert read_header(rewritten(COLOUR, COLOURS, *declared)).colours == ""


@pytest.mark.parametrize("premultiplied", [False, True])
def test_alpha_says_whether_values_are_multiplied_by_it(premultiplied):
    values = np.dstack([GREY // 2, GREY // 4, GREY // 3, np.maximum(GREY, 1)])
    explicit = [(0, 1), *kind(0), (0, 3), (0, 2), (0, 2), (int(premultiplied), 1)]
    content = rewritten(values, EXTRA_CHANNEL, *explicit)
    assert read_header(content) == Header((64, 48), channels=1, alpha=True, premultiplied=premultiplied)
    alpha = np.ones_like(GREY) if premultiplied else values[..., 3] / 255
    picture = read_picture(content)
    rgb = join_colour(picture.luminance, picture.chroma)
    np.testing.assert_allclose(rgb, values[..., :3] / 255 * alpha[..., None], atol=1e-6)


def test_eight_bits_are_not_deep():
    assert [read_picture(written(values)).bits for values in (GREY, COLOUR)] == [8, 8]


def test_boxes_may_have_long_lengths_and_a_codestream_in_parts():
    stream, (start, *_) = written(GREY), written(GREY, usecontainer=True).split(b"jxlc")
    whole = start[:-4] + struct.pack(">I4sQ", 1, b"jxlc", 16 + len(stream)) + stream
    parts = b"".join(
        box(b"jxlp", struct.pack(">I", number) + part)
        for number, part in ((0, stream[:3]), (1 + (1 << 31), stream[3:]))
    )
    for content in (whole, start[:-4] + parts):
        np.testing.assert_array_equal(to_array(read_picture(content)), GREY)


def test_lossy_colours_that_need_the_profile_are_refused():
    content = bytearray(from_jpeg(icc_profile=imagecodecs.cms_profile("adobergb")))
    assert not read_header(bytes(content)).unmanaged
    # The flag of XYB colours is the first bit after the number of extra channels.
    start = content.index(b"\xff\x0a")
    for bit in range(8 * (start + 2), 8 * (start + 12)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            if not read_header(bytes(changed)).unmanaged:
                continue
        except ValueError:
            continue
        with pytest.raises(
            PictureError, match="a lossy JPEG XL image with an ICC profile, whose colours cannot be read"
        ):
            read_picture(bytes(changed))
        return
    pytest.fail("no bit is that flag")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (written(np.stack([COLOUR, COLOUR])), "holds several frames, but a file must hold one"),
        (written(np.stack([GREY, GREY]), planar=True, photometric="gray"), "channels that are neither colour nor alp"),
        (written(GREY, usecontainer=True)[:30], "it holds no codestream"),
        (written(GREY)[:4], "its header is cut off"),
        (written(GREY, usecontainer=True).replace(b"\xff\x0a", b"\xff\x0b"), "it holds no codestream"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\5jxlc" + bytes(8), "one of its boxes is damaged"),
    ],
    ids=["frames", "channels", "no image", "no header", "no signature", "boxes"],
)
def test_what_is_no_single_image_is_refused(content, words):
    with pytest.raises(PictureError, match=words):
        read_picture(content)
