"""TIFF: what the file says of its values, of its channels, and of what lies beside the image."""

import struct

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.networks import small_network

from refusion.images import PictureError, read_picture, to_array
from refusion.images.colour import join_colour
from refusion.images.exif import loaded_tags

MODEL = small_network()
RNG = np.random.default_rng(0)
SCENE = np.add.outer(np.linspace(0, 0.6, 48), 0.4 * np.sin(np.arange(64) / 7) ** 2)
COLOUR = np.stack([SCENE, SCENE[::-1], SCENE[:, ::-1]], axis=-1)


def own_scale(values):
    """What an own range makes of values: the 0.5 % at each end, at least one pixel, does not count."""
    flat = np.sort(values.astype(np.float64).ravel())
    k = max(1, flat.size // 200)
    return np.clip((values.astype(np.float64) - flat[k]) / (flat[-1 - k] - flat[k]), 0, 1)


VALUES = {
    "int16": (SCENE - 0.5) * 60_000,
    "int32": (SCENE - 0.5) * 2e9,
    "uint32": SCENE * 4e9,
    "float16": 10 + 30 * SCENE,
    "float32": 10 + 30 * SCENE,
    "float64": -1e5 + 3e4 * SCENE,
    "uint16": SCENE * 65_535,
}


@pytest.mark.parametrize("dtype", VALUES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "lzw"},
        {"compression": "deflate", "predictor": True, "tile": (16, 32)},
        {"compression": "zstd"},
    ],
    ids=str,
)
def test_values_of_every_type_and_byte_order(tmp_path, dtype, order, options):
    stored = VALUES[dtype].astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, byteorder=order, **options)
    picture = read_picture(tmp_path / "a.tif", window="own")
    np.testing.assert_allclose(picture.luminance, own_scale(stored), atol=1e-5)
    assert picture.bits == 16


def test_signed_bytes_have_a_range_of_their_own(tmp_path):
    stored = ((SCENE - 0.5) * 250).astype(np.int8)
    tifffile.imwrite(tmp_path / "a.tif", stored)
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_allclose(picture.luminance, (stored + 128.0) / 255, atol=1e-6)
    assert picture.bits == 8
    windowed = read_picture(tmp_path / "a.tif", window=(-20, 60))
    np.testing.assert_allclose(windowed.luminance, ((stored + 20.0) / 80).clip(0, 1), atol=1e-6)
    own = read_picture(tmp_path / "a.tif", window="own")
    np.testing.assert_allclose(own.luminance, own_scale(stored.astype(np.float32)), atol=1e-5)


def test_colour_compressed_as_jpeg(tmp_path):
    stored = (255 * COLOUR).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", compression="jpeg", compressionargs={"level": 95})
    assert np.abs(to_array(read_picture(tmp_path / "a.tif")).astype(int) - stored).mean() < 3


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_fourth_channel_is_what_the_file_says(tmp_path, dtype):
    top = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    fourth = np.clip(SCENE, 0.1, 1)
    rgb, alpha = (COLOUR * top).astype(dtype), (fourth * top).astype(dtype)
    plain = read_picture(rgb)

    def read(values, kind):
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=[kind])
        return read_picture(tmp_path / "a.tif")

    other = read(np.dstack([rgb, alpha]), "unspecified")
    np.testing.assert_allclose(other.luminance, plain.luminance, atol=1e-6)
    assert other.alpha is None
    assert "a.tif has an extra channel after red, green and blue, which the file does not declare" in (other.note or "")

    unassociated = read(np.dstack([rgb, alpha]), "unassalpha")
    share = alpha / np.float32(top)
    np.testing.assert_allclose(unassociated.alpha, share, atol=1e-6)
    np.testing.assert_allclose(unassociated.luminance, plain.luminance * share, atol=1e-5)

    over_black = (rgb * share[..., None]).astype(dtype)
    associated = read(np.dstack([over_black, alpha]), "assocalpha")
    np.testing.assert_allclose(associated.luminance, read_picture(over_black).luminance, atol=1e-5)
    np.testing.assert_allclose(associated.alpha, share, atol=1e-6)


def test_more_bands_are_named(tmp_path):
    tifffile.imwrite(tmp_path / "rgbnir2.tif", np.dstack([COLOUR, COLOUR[..., :2]]), photometric="rgb")
    assert "has 2 extra channels after red, green and blue" in (read_picture(tmp_path / "rgbnir2.tif").note or "")
    names = "".join(
        f'<Item name="DESCRIPTION" sample="{i}" role="description">{n}</Item>' for i, n in enumerate("ABCD")
    )
    tags = [(42112, "s", 0, f"<GDALMetadata>{names}</GDALMetadata>", True)]
    bands = (1000 * np.dstack([SCENE] * 4)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "m.tif", bands, photometric="minisblack", planarconfig="contig", extratags=tags)
    with pytest.raises(PictureError, match=r"m\.tif holds 4 bands of 16 bits \(A, B, C, D\), which are neither grey"):
        read_picture(tmp_path / "m.tif")
    tifffile.imwrite(tmp_path / "two.tif", bands[..., :2], photometric="minisblack", planarconfig="contig")
    with pytest.raises(PictureError, match=r"holds 2 bands of 16 bits.*save the band you want alone\."):
        read_picture(tmp_path / "two.tif")


def test_wholly_transparent_is_refused(tmp_path):
    nothing = np.dstack([COLOUR, np.zeros_like(SCENE)]).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", nothing, photometric="rgb", extrasamples=["unassalpha"])
    Image.fromarray((255 * nothing).astype(np.uint8)).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        with pytest.raises(PictureError, match="is transparent or has no value"):
            read_picture(tmp_path / name)


@pytest.mark.parametrize(
    ("nodata", "text", "dtype"),
    [
        (-9999, "-9999", "float32"),
        (-3.4028234663852886e38, "-3.40282e+38", "float32"),
        (0, "0", "uint16"),
        (np.nan, "nan", "float64"),
    ],
)
def test_no_data_that_gdal_declares_is_missing(tmp_path, nodata, text, dtype):
    missing = np.zeros(SCENE.shape, bool)
    missing[:, :10] = True
    kelvin = (29_000 + 900 * SCENE).astype(dtype)
    stored = np.where(missing, np.asarray(nodata, dtype), kelvin)
    tifffile.imwrite(tmp_path / "a.tif", stored, extratags=[(42113, "s", 0, text, True)])
    picture = read_picture(tmp_path / "a.tif", window="own")
    np.testing.assert_array_equal(picture.alpha == 0, missing)
    assert not picture.luminance[missing].any()
    np.testing.assert_allclose(picture.luminance[~missing], own_scale(kelvin[~missing]), atol=1e-4)
    given = (29_000, 29_900)
    np.testing.assert_allclose(
        read_picture(tmp_path / "a.tif", window=given).luminance[~missing],
        (kelvin[~missing] - 29_000.0) / 900,
        atol=1e-4,
    )


def test_no_data_that_is_asked_for(tmp_path):
    celsius = (10 + 30 * SCENE).astype(np.float32)
    missing = SCENE < 0.2
    tifffile.imwrite(tmp_path / "nan.tif", np.where(missing, np.nan, celsius))
    with pytest.raises(PictureError, match=r"nan\.tif has values that are not finite .*--nodata nan"):
        read_picture(tmp_path / "nan.tif", window=(10, 40))
    whole = read_picture(celsius, window=(10, 40)).luminance
    for picture in (
        read_picture(tmp_path / "nan.tif", window=(10, 40), nodata=np.nan),
        read_picture(np.where(missing, -300, celsius), window=(10, 40), nodata=-300),
        read_picture(np.ma.masked_array(np.where(missing, 1e9, celsius), missing), window=(10, 40)),
    ):
        np.testing.assert_array_equal(picture.alpha == 0, missing)
        np.testing.assert_allclose(picture.luminance[~missing], whole[~missing], atol=1e-6)


def test_overviews_thumbnails_and_masks_are_no_frames(tmp_path):
    stored = (65_535 * SCENE).astype(np.uint16)
    mask = np.full(SCENE.shape, 255, np.uint8)
    mask[:8] = 0
    with tifffile.TiffWriter(tmp_path / "cog.tif") as file:
        file.write(stored, metadata=None)
        file.write(mask, subfiletype=1, metadata=None)
        file.write(stored[::2, ::2], subfiletype=1, metadata=None)
        file.write(mask[::2, ::2], subfiletype=1, metadata=None)
    # What tifffile does not write: masks, whole and reduced, as GDAL has them.
    with tifffile.TiffFile(tmp_path / "cog.tif", mode="r+b") as file:
        for page, kind in ((1, 4), (3, 5)):
            file.pages[page].tags[254].overwrite(kind)
    picture = read_picture(tmp_path / "cog.tif")
    np.testing.assert_array_equal(to_array(picture, 16)[8:, :, 0], stored[8:])
    np.testing.assert_array_equal(picture.alpha == 0, mask == 0)
    with tifffile.TiffWriter(tmp_path / "thumbnail.tif") as file:
        file.write(stored[::4, ::4], subfiletype=1, metadata=None)
        file.write(stored, metadata=None)
    np.testing.assert_array_equal(to_array(read_picture(tmp_path / "thumbnail.tif"), 16), stored)
    with tifffile.TiffWriter(tmp_path / "sub.tif") as file:
        file.write(stored[::4, ::4], subfiletype=1, subifds=1, metadata=None)
        file.write(stored, metadata=None)
    np.testing.assert_array_equal(to_array(read_picture(tmp_path / "sub.tif"), 16), stored)


def test_a_thumbnail_of_exif_is_no_frame(tmp_path):
    stored = (65_535 * SCENE).astype(np.uint16)
    thumbnail = [(513, "I", 1, 8, True), (514, "I", 1, 100, True)]
    with tifffile.TiffWriter(tmp_path / "camera.tif") as file:
        file.write(stored, metadata=None)
        file.write((stored[::4, ::4] >> 8).astype(np.uint8), metadata=None, extratags=thumbnail)
    np.testing.assert_array_equal(to_array(read_picture(tmp_path / "camera.tif"), 16), stored)


@pytest.mark.parametrize("place", ["first", "sub", "linear"])
def test_raw_files_are_not_taken_for_their_thumbnails(tmp_path, place):
    sensor = np.random.default_rng(3).integers(200, 4000, (90, 120), dtype=np.uint16)
    cfa = [(33421, "H", 2, (2, 2), True), (33422, "B", 4, (0, 1, 1, 2), True)]
    thumbnail = RNG.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.nef") as file:
        if place == "first":
            file.write(sensor, photometric=32803, metadata=None, extratags=cfa)
        else:
            file.write(thumbnail, photometric="rgb", subifds=1, subfiletype=1, metadata=None)
            kind = 32803 if place == "sub" else 34892
            values = np.dstack([sensor] * 3) if place == "linear" else sensor
            file.write(values, photometric=kind, metadata=None, extratags=[] if place == "linear" else cfa)
    if place == "linear":
        with pytest.raises(PictureError, match=r"a\.nef is a camera raw file that cannot be developed here"):
            read_picture(tmp_path / "a.nef")
    else:
        assert read_picture(tmp_path / "a.nef").size == (120, 90)


def test_a_giant_tile_is_refused_before_it_is_made(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", (255 * SCENE).astype(np.uint8), tile=(16, 16), compression="deflate")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    for tag in (322, 323):
        at = (
            content.index(tag.to_bytes(2, "little") + b"\x04\0")
            if tag.to_bytes(2, "little") + b"\x04\0" in content
            else None
        )
        at = at or content.index(tag.to_bytes(2, "little") + b"\x03\0")
        content[at + 2 : at + 12] = b"\x04\0" + (1).to_bytes(4, "little") + (60_000).to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(PictureError, match="its tiles are 60000 x 60000"):
        read_picture(tmp_path / "a.tif")


def test_many_deep_channels_are_refused_before_they_are_decoded(tmp_path):
    """The strips need not be in the file, so a few hundred bytes could take gigabytes."""
    values = np.zeros((16, 16, 16)) + 0.5
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", planarconfig="contig", metadata=None)
    assert read_picture(tmp_path / "a.tif").size == (16, 16)
    with pytest.raises(PictureError, match=r"a\.tif has 16 channels of 64 bits.* but at most"):
        read_picture(tmp_path / "a.tif", max_pixels=256)
    tifffile.imwrite(tmp_path / "tiled.tif", values, photometric="rgb", tile=(16, 16), metadata=None)
    with tifffile.TiffFile(tmp_path / "tiled.tif", mode="r+b") as file:
        for tag in (322, 323):
            file.pages[0].tags[tag].overwrite(4096)
    with pytest.raises(PictureError, match="its tiles are 4096 x 4096 pixels of 128 bytes"):
        read_picture(tmp_path / "tiled.tif")


def test_a_tile_that_is_left_out_is_black(tmp_path):
    """As GDAL writes with SPARSE_OK."""
    stored = np.full((32, 64), 200, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, tile=(32, 32), metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        for tag in (324, 325):
            tags = file.pages[0].tags
            tags[tag].overwrite((tags[tag].value[0], 0))
    values = to_array(read_picture(tmp_path / "a.tif"), 8)
    np.testing.assert_array_equal(values, np.where(np.arange(64) < 32, stored, 0))


def test_missing_pixels_are_not_filled_with_black(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", (65_535 * SCENE).astype(np.uint16), rowsperstrip=8, compression="deflate")
    whole = (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        end = file.pages[0].dataoffsets[-1]
    (tmp_path / "a.tif").write_bytes(whole[: end + 3])
    with pytest.raises(PictureError, match=r"a\.tif cannot be decoded"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [3, 5, 6, 7, 10, 12, 14])
def test_any_number_of_bits(tmp_path, bits):
    stored = (np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 37) % 2**bits
    kind = np.uint8 if bits < 8 else np.uint16
    tifffile.imwrite(tmp_path / "a.tif", stored.astype(kind), bitspersample=bits, photometric="minisblack")
    np.testing.assert_allclose(read_picture(tmp_path / "a.tif").luminance, stored / (2**bits - 1), atol=1e-6)


def test_a_chain_of_directories_that_ends_in_itself_is_one_image(tmp_path):
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tifffile.imwrite(tmp_path / "a.tif", stored)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * count, start)
    (tmp_path / "loop.tif").write_bytes(content)
    looped, whole = (read_picture(tmp_path / name).luminance for name in ("loop.tif", "a.tif"))
    np.testing.assert_array_equal(looped, whole)


@pytest.mark.parametrize(("dtype", "alpha"), [(np.int16, -1), (np.uint32, 65_536)])
def test_alpha_out_of_range_is_refused(tmp_path, dtype, alpha):
    values = np.full((16, 16, 4), 30_000, dtype)
    values[0, 0, 3] = alpha
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(PictureError, match=rf"Alpha has values .*{alpha}.*, but they must be in 0 to 65535"):
        read_picture(tmp_path / "a.tif")


def test_alpha_of_signed_bytes_has_their_range(tmp_path):
    values = np.full((16, 16, 4), 127, np.int8)
    values[0, 0, 3] = -128
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    alpha = read_picture(tmp_path / "a.tif").alpha
    assert (alpha[0, 0], alpha[1:].min()) == (0, 1)


def test_a_mask_of_several_channels_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((16, 16), np.uint8) + 9, metadata=None)
        writer.write(np.ones((16, 16, 3), np.uint8), subfiletype=2, photometric="rgb", metadata=None)
    page, mask = (struct.pack("<HHII", 254, 4, 1, kind) for kind in (2, 4))
    content = (tmp_path / "a.tif").read_bytes()
    assert content.count(page) == 1
    (tmp_path / "a.tif").write_bytes(content.replace(page, mask))
    with pytest.raises(PictureError, match="its mask has 3 channels of 8 bits"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("alpha", [False, True])
def test_inks_of_sixteen_bits_keep_them(tmp_path, alpha):
    rng = np.random.default_rng(0)
    inks = 257 * rng.integers(0, 256, (24, 32, 4)).astype(np.uint16)
    opacity = rng.integers(1, 65536, (24, 32, 1)).astype(np.uint16) if alpha else inks[..., :0]
    extra = {"extrasamples": ["unassalpha"]} if alpha else {}
    stored = np.concatenate([inks, opacity], axis=2)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="separated", planarconfig="contig", **extra)
    light = 1 - inks / 65535
    picture = read_picture(tmp_path / "a.tif")
    assert (picture.bits, picture.note) == (16, None)
    expected = light[..., :3] * light[..., 3:] * (opacity / 65535 if alpha else 1)
    np.testing.assert_allclose(join_colour(picture.luminance, picture.chroma), expected, atol=1e-5)
    coarse = (stored // 257).astype(np.uint8)
    tifffile.imwrite(tmp_path / "b.tif", coarse, photometric="separated", planarconfig="contig", **extra)
    assert read_picture(tmp_path / "b.tif").bits == 8
    assert np.abs(read_picture(tmp_path / "b.tif").luminance - picture.luminance).max() < 2.1 / 255


PLACE = [(33550, "d", 3, (0.5, 0.5, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 4.5, 52.1, 0.0), True)]
PALETTE = np.stack([np.arange(256)[::step] * 257 for step in (1, -1, 1)]).astype(np.uint16)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("orthophoto", {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 98}}),
        ("land cover", {"photometric": "palette", "colormap": PALETTE}),
        ("CMYK", {"photometric": "separated"}),
        ("bilevel", {"photometric": "minisblack"}),
    ],
)
def test_masks_and_places_of_kinds_that_pillow_decodes(tmp_path, kind, options):
    levels = np.kron(np.arange(6).reshape(2, 3), np.ones((16, 16))).astype(np.uint8) * 40
    channels = {"orthophoto": 3, "CMYK": 4}.get(kind)
    stored = np.stack([levels] * channels, axis=-1) if channels else levels > 100 if kind == "bilevel" else levels
    seen = np.ones(levels.shape, bool)
    seen[:, :8] = False
    with tifffile.TiffWriter(tmp_path / "map.tif") as writer:
        writer.write(stored[::2, ::2], subfiletype=1, metadata=None, **options)
        writer.write(stored, metadata=None, extratags=PLACE, tile=(16, 16), **options)
        writer.write(seen, subfiletype=4, photometric=4, metadata=None)
    picture = read_picture(tmp_path / "map.tif")
    assert picture.size == (48, 32)
    assert dict(picture.geo)[33922] == (0.0, 0.0, 0.0, 4.5, 52.1, 0.0)
    np.testing.assert_array_equal(picture.alpha, seen)
    expected = {
        "orthophoto": levels / 255,
        "land cover": (levels * 0.413 + (255 - levels) * 0.587) / 255,
        "CMYK": (1 - levels / 255) ** 2,
        "bilevel": levels > 100,
    }[kind]
    np.testing.assert_allclose(picture.luminance, np.where(seen, expected, 0), atol=3 / 255)


@pytest.mark.parametrize(("bits", "photometric"), [(8, "palette"), (4, "minisblack"), (2, "minisblack")])
def test_no_data_of_palettes_and_few_bits_is_the_stored_value(tmp_path, bits, photometric):
    stored = (np.arange(256).reshape(16, 16) % 2**bits).astype(np.uint8)
    colours = {"colormap": PALETTE} if photometric == "palette" else {}
    nodata = [(42113, "s", 0, "3", True)]
    tifffile.imwrite(
        tmp_path / "a.tif", stored, bitspersample=bits, photometric=photometric, extratags=nodata, **colours
    )
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").alpha, stored != 3)


def test_without_a_colour_space_black_is_zero(tmp_path):
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tifffile.imwrite(tmp_path / "a.tif", stored)
    content = (tmp_path / "a.tif").read_bytes()
    entry = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    assert content.count(entry) == 1
    # The tag becomes one that nobody knows.
    (tmp_path / "a.tif").write_bytes(content.replace(entry, struct.pack("<HHIHH", 263, 3, 1, 1, 0)))
    np.testing.assert_array_equal(to_array(read_picture(tmp_path / "a.tif")), stored)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [4, 16, 18], ids=["LONG", "LONG8", "IFD8"])
def test_a_bigtiff_keeps_its_exif_data(tmp_path, order, kind):
    def write(place):
        tags = [(271, "s", 0, "FLIR", True), (34664, "Q", 1, place, True)]
        tifffile.imwrite(path, np.zeros((16, 16), np.uint8), bigtiff=True, byteorder=order, extratags=tags)
        return path.stat().st_size

    path = tmp_path / "a.tif"
    place = write(write(0))
    # The directory of the exposure has one entry: an exposure time of 1/125 s.
    value = struct.pack(f"{order}II", 1, 125)
    entry = struct.pack(f"{order}QHHQ8sQ", 1, 33434, 5, 1, value, 0)
    # tifffile does not write the tag of this directory, so its number is that of another at first.
    number = "I4x" if kind == 4 else "Q"
    stand_in = struct.pack(f"{order}HHQQ", 34664, 16, 1, place)
    pointer = struct.pack(f"{order}HHQ{number}", 34665, kind, 1, place)
    content = path.read_bytes()
    assert (content.count(stand_in), len(content)) == (1, place)
    path.write_bytes(content.replace(stand_in, pointer) + entry)
    exif = read_picture(path).exif
    assert exif is not None
    tags = loaded_tags(exif)
    assert tags[271] == "FLIR"
    assert tags[34665] == {33434: 1 / 125}


@pytest.mark.parametrize("large_first", [False, True])
def test_a_size_that_is_there_twice_is_checked(large_first, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((16, 16), bool), photometric="minisblack", metadata=None)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    entries = [content[start + 2 + 12 * place : start + 14 + 12 * place] for place in range(count)]
    large = [bytearray(struct.pack("<HHII", size, 4, 1, 9_000)) for size in (256, 257)]
    entries = large + entries if large_first else entries + large
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    struct.pack_into("<I", content, 4, len(content))
    (tmp_path / "a.tif").write_bytes(content + directory)
    with Image.open(tmp_path / "a.tif") as opened:
        size = opened.size
    if not large_first and size == (16, 16):  # Pillow 13 takes the first one, as tifffile does; older ones the last.
        assert read_picture(tmp_path / "a.tif", max_pixels=1_000).size == size
        return
    with pytest.raises(PictureError, match="9000 x 9000 pixels, but at most 1,000"):
        read_picture(tmp_path / "a.tif", max_pixels=1_000)


@pytest.mark.parametrize("compression", ["jpeg", "png", "jpeg2000", "jpegxl", "lerc", "webp"])
def test_a_strip_that_is_larger_inside_is_refused_before_it_is_decoded(tmp_path, compression):
    shape = (16, 16, 3) if compression == "webp" else (16, 16)
    options = {"compression": compression, "metadata": None, "software": False}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8) + 7, **options)
    assert read_picture(tmp_path / "a.tif", max_pixels=1_000).size == (16, 16)
    tifffile.imwrite(
        tmp_path / "large.tif", np.zeros((1_200, 1_000, *shape[2:]), np.uint8), rowsperstrip=1_200, **options
    )
    with tifffile.TiffFile(tmp_path / "large.tif") as file:
        file.filehandle.seek(file.pages[0].dataoffsets[0])
        strip = file.filehandle.read(file.pages[0].databytecounts[0])
    content = bytearray((tmp_path / "a.tif").read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", content, start)[0], 12):
        value = {273: len(content), 279: len(strip)}.get(struct.unpack_from("<H", content, entry)[0])
        if value is not None:
            struct.pack_into("<HII", content, entry + 2, 4, 1, value)
    (tmp_path / "a.tif").write_bytes(content + strip)
    with pytest.raises(PictureError, match="a strip or tile of it is 1000 x 1200 pixels"):
        read_picture(tmp_path / "a.tif", max_pixels=1_000)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("scale", [1, 256, 257])
def test_a_palette_that_was_not_scaled_to_16_bits_is_read_as_one_of_8(tmp_path, bits, scale):
    count = 2**bits
    palette = np.stack([np.linspace(20 * k, 255, count) for k in range(3)]).astype(np.uint16)
    places = (np.arange(48 * 64) % count).astype(np.uint8).reshape(48, 64)
    packed = places if bits == 8 else places[:, ::2] << 4 | places[:, 1::2]
    entries = (palette * scale).ravel().tolist()
    tags = [
        *((256, "I", 1, 64), (257, "I", 1, 48), (258, "H", 1, bits), (259, "H", 1, 1), (262, "H", 1, 3)),
        *((273, "I", 1, None), (277, "H", 1, 1), (278, "I", 1, 48), (279, "I", 1, packed.size)),
        (320, "H", 3 * count, entries),
    ]
    (tmp_path / "a.tif").write_bytes(classic_tiff(tags, packed.tobytes()))
    np.testing.assert_array_equal(to_array(read_picture(tmp_path / "a.tif")), palette.T[places])


def classic_tiff(tags, pixels):
    """A little-endian TIFF of one strip; the tag 273 without a value gets its place."""
    types = {"H": 3, "I": 4}
    after = 8 + 2 + 12 * len(tags) + 4
    directory, values = struct.pack("<H", len(tags)), b""
    end = after + sum(struct.calcsize(f"<{count}{kind}") for _, kind, count, _ in tags if count > 1)
    for tag, kind, count, value in tags:
        directory += struct.pack("<HHI", tag, types[kind], count)
        if count > 1:
            directory += struct.pack("<I", after + len(values))
            values += struct.pack(f"<{count}{kind}", *value)
        else:
            directory += struct.pack(f"<{kind}", end if value is None else value).ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + values + pixels


@pytest.mark.parametrize("marked", [0, 1])
def test_an_image_below_its_thumbnail_is_read_also_if_that_is_not_marked(tmp_path, marked):
    stored = (255 * COLOUR).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(stored[::4, ::4], photometric="rgb", subifds=1, subfiletype=marked)
        writer.write(stored, photometric="rgb", compression="deflate")
    np.testing.assert_array_equal(to_array(read_picture(tmp_path / "a.tif")), stored)
    with tifffile.TiffWriter(tmp_path / "jpeg.tif") as writer:
        writer.write(stored[::4, ::4], photometric="rgb", subifds=1, subfiletype=marked)
        writer.write(stored, photometric="ycbcr", compression="jpeg")
    with pytest.raises(PictureError, match="its image is in a directory below that of a thumbnail"):
        read_picture(tmp_path / "jpeg.tif")
