"""Sixteen bits, alpha, metadata, and the formats beyond PNG and JPEG."""

import builtins
import io
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, PngImagePlugin, features
from support.networks import small_network
from support.pictures import sentence
from support.scenes import textured
from support.without import without

from refusion.images import NEUTRAL, Picture, PictureError, fuse_chroma, read_picture, save_picture, to_array

MODEL = small_network()
DEEP = np.random.default_rng(2).integers(0, 65536, (16, 24, 3), dtype=np.uint16)
DEEP_ALPHA = np.random.default_rng(3).integers(1, 65536, (16, 24), dtype=np.uint16)


def deep_file(path, pixels):
    order = [2, 1, 0, 3][: pixels.shape[2]]
    assert cv2.imwrite(str(path), pixels[..., order])
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colour_of_sixteen_bits_comes_back_exactly(tmp_path, suffix):
    picture = read_picture(deep_file(tmp_path / f"in{suffix}", DEEP))
    assert picture.bits == 16
    np.testing.assert_array_equal(to_array(picture, 16), DEEP)
    save_picture(picture, tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / f"out{suffix}"), cv2.IMREAD_UNCHANGED)[..., ::-1], DEEP)
    np.testing.assert_array_equal(to_array(read_picture(tmp_path / f"out{suffix}"), 16), DEEP)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_of_sixteen_bits(tmp_path, suffix):
    stored = np.dstack([DEEP, DEEP_ALPHA])
    picture = read_picture(deep_file(tmp_path / f"in{suffix}", stored))
    expected = DEEP * (DEEP_ALPHA[..., None] / 65535)
    over_black = Picture(picture.luminance, picture.chroma, "")
    assert np.abs(to_array(over_black, 16) - expected).max() <= 1
    save_picture(picture, tmp_path / f"out{suffix}")
    back = to_array(read_picture(tmp_path / f"out{suffix}"), 16)
    np.testing.assert_array_equal(back[..., 3], DEEP_ALPHA)
    if suffix == ".tif":
        with tifffile.TiffFile(tmp_path / "out.tif") as file:
            assert file.pages[0].extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
    opaque = DEEP_ALPHA > 30_000
    assert np.abs(back[..., :3].astype(int) - DEEP)[opaque].max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_colour_of_sixteen_bits_is_turned_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture = read_picture(deep_file(tmp_path / "in.png", DEEP))
    save_picture(Picture(picture.luminance, picture.chroma, "", exif=exif.tobytes(), bits=16), tmp_path / "turned.png")
    eight = io.BytesIO()
    Image.fromarray((DEEP >> 8).astype(np.uint8)).save(eight, "PNG", exif=exif)
    expected = to_array(read_picture(eight), 8)
    upright = to_array(read_picture(tmp_path / "turned.png"), 16)
    np.testing.assert_array_equal((upright >> 8).astype(np.uint8), expected)


def test_depth_of_the_file_follows_the_sources_and_the_format(tmp_path):
    grey = Picture((textured(1) / 255).astype(np.float32), None, "", bits=16)
    for suffix, depth in ((".png", 16), (".tif", 16), (".jpg", 8), (".webp", 8)):
        save_picture(grey, tmp_path / f"a{suffix}")
        assert read_picture(tmp_path / f"a{suffix}").bits == depth
    save_picture(grey, tmp_path / "a.png", bits=8)
    assert read_picture(tmp_path / "a.png").bits == 8
    with pytest.raises(PictureError, match=r"a\.jpg cannot hold 16 bits"):
        save_picture(grey, tmp_path / "a.jpg", bits=16)


def test_windows():
    stored = (7000 + np.arange(256, dtype=np.uint16).reshape(16, 16)).astype(np.uint16)
    assert "uses only 7001 to 7254" in (read_picture(stored).note or "")
    own = read_picture(stored, window="own")
    assert (own.luminance.min(), own.luminance.max(), own.note) == (0, 1, None)
    given = read_picture(stored, window=(7100, 7200))
    np.testing.assert_allclose(given.luminance, np.clip((stored - 7100.0) / 100, 0, 1), atol=1e-6)
    floats = read_picture(stored.astype(np.float64) - 9000, window=(-1999, -1746))
    np.testing.assert_allclose(floats.luminance, own.luminance, atol=1e-6)
    for dtype, offset in ((np.int16, -9000), (np.int64, 100_000), (np.uint32, 100_000)):
        integers = stored.astype(np.int64) + offset
        given = read_picture(integers.astype(dtype), window=(7100 + offset, 7200 + offset))
        np.testing.assert_allclose(given.luminance, np.clip((stored - 7100.0) / 100, 0, 1), atol=1e-6)
        np.testing.assert_array_equal(read_picture(integers.astype(dtype), window="own").luminance, own.luminance)
    eight = textured(1)
    np.testing.assert_array_equal(read_picture(eight, window="own").luminance, read_picture(eight).luminance)
    constant = np.full((8, 8), 500, np.uint16)
    assert np.isfinite(read_picture(constant, window="own").luminance).all()
    for window in ((2, 1), (0, np.nan), "mine"):
        with pytest.raises(PictureError, match="A window must be two numbers"):
            read_picture(stored, window=window)


def test_integers_beyond_sixteen_bits_need_a_window(tmp_path):
    Image.fromarray(np.arange(256, dtype=np.int32).reshape(16, 16) * 1000 - 5000).save(tmp_path / "deep.tif")
    with pytest.raises(PictureError, match="give a window"):
        read_picture(tmp_path / "deep.tif")
    own = read_picture(tmp_path / "deep.tif", window="own")
    # One pixel at each end, of 256, does not count.
    np.testing.assert_allclose(own.luminance.ravel(), np.clip((np.arange(256) - 1) / 253, 0, 1), atol=1e-6)


def test_what_the_camera_wrote_goes_with_the_colour(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "Camera of the visible"
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.ExposureTime: 0.5,
        ExifTags.Base.ExifImageWidth: 64,
        ExifTags.Base.MakerNote: b"offsets into the file",
    }
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    colour = np.stack([textured(2), textured(3), textured(4)], axis=-1)
    Image.fromarray(colour).save(tmp_path / "vis.jpg", exif=exif)
    infrared = Image.fromarray(np.rot90(textured(1), -1))
    fused = MODEL.fuse(infrared, tmp_path / "vis.jpg")
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        fused.save(tmp_path / f"fused{suffix}")
        with Image.open(tmp_path / f"fused{suffix}") as image:
            kept = image.getexif()
            assert kept[ExifTags.Base.Model] == "Camera of the visible"
            assert kept.get(ExifTags.Base.Orientation, 1) == 1
            nested = kept.get_ifd(ExifTags.IFD.Exif)
            assert nested[ExifTags.Base.ExposureTime] == 0.5
            assert not {ExifTags.Base.ExifImageWidth, ExifTags.Base.MakerNote} & nested.keys()
            assert kept.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    deep = Picture(np.zeros((8, 8), np.float32), np.full((2, 8, 8), 0.4, np.float32), "", exif=fused.picture.exif)
    for suffix in (".png", ".tif"):
        save_picture(deep, tmp_path / f"deep{suffix}", bits=16)
        with Image.open(tmp_path / f"deep{suffix}") as image:
            assert image.getexif()[ExifTags.Base.Model] == "Camera of the visible"
            assert image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == 0.5


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_letters_of_every_language_stay_in_exif(tmp_path, suffix):
    written = {
        ExifTags.Base.ImageDescription: "Straße".encode(),
        ExifTags.Base.Artist: "José Müller".encode(),
        ExifTags.Base.Copyright: "© 2024 Žižka".encode(),
    }
    exif = Image.Exif()
    for tag, text in written.items():
        exif[tag] = text
    Image.fromarray(DEEP[..., 0] >> 8).convert("RGB").save(tmp_path / "in.jpg", exif=exif)
    read_back = read_picture(tmp_path / "in.jpg")
    save_picture(read_back, tmp_path / f"out{suffix}")
    # A second time, since TIFF is read in another way.
    save_picture(read_picture(tmp_path / f"out{suffix}"), tmp_path / f"again{suffix}")
    for name in ("out", "again"):
        with Image.open(tmp_path / f"{name}{suffix}") as image:
            kept = {tag: image.getexif()[tag].encode("latin-1") for tag in written}
        assert kept == written


@pytest.mark.parametrize(
    "written",
    [
        {"metadata": {"axes": "YX"}},
        {"imagej": True},
        {"ome": True},
        {"description": "<?xml version='1.0'?><room>3</room>", "metadata": None},
    ],
)
def test_only_descriptions_of_what_is_shown_are_kept(tmp_path, written):
    """Those of tifffile, ImageJ and OME state size, type and number of images, from which programs read a file."""
    tifffile.imwrite(tmp_path / "in.tif", DEEP[..., 0], **written)
    save_picture(read_picture(tmp_path / "in.tif"), tmp_path / "out.tif", bits=8)
    with Image.open(tmp_path / "out.tif") as image:
        kept = image.getexif().get(ExifTags.Base.ImageDescription)
    assert kept == written.get("description")
    assert tifffile.imread(tmp_path / "out.tif").dtype == np.uint8


def test_a_jpeg_leaves_out_the_largest_exif_and_says_so(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "Camera"
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ExposureTime: 0.5, ExifTags.Base.UserComment: bytes(8) + b"x" * 70_000}
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    Image.fromarray(textured(1)).save(tmp_path / "in.png", exif=exif)
    fused = MODEL.fuse(textured(1), tmp_path / "in.png", chroma="b")
    note = fused.save(tmp_path / "out.jpg")
    assert note is not None
    assert "in out.jpg UserComment is left out" in note
    assert fused.save(tmp_path / "out.png") is None
    for suffix, length in ((".jpg", None), (".png", 70_008)):
        with Image.open(tmp_path / f"out{suffix}") as image:
            kept = image.getexif()
        assert kept[ExifTags.Base.Model] == "Camera"
        assert kept.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
        nested = kept.get_ifd(ExifTags.IFD.Exif)
        assert nested[ExifTags.Base.ExposureTime] == 0.5
        comment = nested.get(ExifTags.Base.UserComment)
        assert (comment and len(comment)) == length


def test_chroma_weighted_by_saturation():
    def pixel(blue: float, red: float) -> Picture:
        chroma = NEUTRAL + np.array([blue, red], np.float32).reshape(2, 1, 1) / 255
        return Picture(np.full((1, 1), 0.5, np.float32), chroma, "")

    # Distances from neutral are 50 and 25, so the weights are 2/3 and 1/3.
    fused = fuse_chroma(pixel(30, 40), pixel(-15, 20), "saturation")
    np.testing.assert_allclose((fused.ravel() - NEUTRAL) * 255, [15, 100 / 3], atol=1e-2)
    grey = Picture(np.zeros((1, 1), np.float32), None, "")
    coloured = pixel(30, 40)
    assert fuse_chroma(grey, coloured, "saturation") is coloured.chroma
    assert fuse_chroma(grey, grey, "saturation") is None


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif(tmp_path):
    colour = np.stack([textured(2), textured(3), textured(4)], axis=-1)
    save_picture(read_picture(colour), tmp_path / "a.avif")
    assert np.abs(to_array(read_picture(tmp_path / "a.avif")).astype(int) - colour).mean() < 6


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_with_the_brand_of_any_still_image():
    file = io.BytesIO()
    Image.fromarray(textured(1)).save(file, "AVIF", quality=90)
    content = file.getvalue()
    assert content[8:12] == b"avif"
    assert b"avif" in content[16:32]
    renamed = content[:8] + b"mif1" + content[12:]
    np.testing.assert_array_equal(read_picture(renamed).luminance, read_picture(content).luminance)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
@pytest.mark.parametrize(("bits", "channels"), [(10, 3), (12, 3), (10, 4)])
def test_avif_of_more_bits_keeps_them(tmp_path, bits, channels):
    import imagecodecs

    stored = np.random.default_rng(0).integers(0, 2**bits, (48, 64, channels)).astype(np.uint16)
    stored[..., 3:] = 2**bits - 1
    (tmp_path / "a.avif").write_bytes(imagecodecs.avif_encode(stored, level=100, bitspersample=bits))
    picture = read_picture(tmp_path / "a.avif")
    assert (picture.bits, picture.alpha) == (16, None)
    np.testing.assert_allclose(to_array(picture, 16) / 65535 * (2**bits - 1), stored[..., :3], atol=0.1)


def test_heic(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    picture = Image.fromarray(np.kron(textured(2, 6, 8), np.ones((8, 8), np.uint8)))
    try:
        pillow_heif.from_pillow(picture).save(tmp_path / "a.heic", quality=95)
    except RuntimeError as error:
        pytest.skip(f"this pillow-heif writes no HEIC: {error}")
    assert np.abs(to_array(read_picture(tmp_path / "a.heic")).astype(int) - np.asarray(picture)).mean() < 3


@pytest.mark.parametrize("alpha", [False, True])
def test_heic_of_ten_bits_keeps_them(tmp_path, alpha):
    pillow_heif = pytest.importorskip("pillow_heif")
    mode, channels = ("RGBA;16", 4) if alpha else ("RGB;16", 3)
    stored = np.kron(np.random.default_rng(0).integers(0, 1024, (6, 8, channels)), np.ones((8, 8, 1))).astype(np.uint16)
    stored[..., 3:] = 1023
    try:
        heif = pillow_heif.from_bytes(mode=mode, size=(64, 48), data=(stored << 6).tobytes())
        heif.save(tmp_path / "a.heic", quality=-1, chroma=444, matrix_coefficients=0)
    except (RuntimeError, ValueError) as error:
        pytest.skip(f"this pillow-heif writes no HEIC of ten bits: {error}")
    picture = read_picture(tmp_path / "a.heic")
    assert (picture.bits, picture.note) == (16, None)
    off = np.abs(to_array(picture, 16)[..., :3] / 65535 * 1023 - stored[..., :3])
    assert off.mean() < 1


def test_a_heic_of_several_images_says_so(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    try:
        heif = pillow_heif.from_pillow(Image.fromarray(textured(1)))
        heif.add_from_pillow(Image.fromarray(255 - textured(1)))
        heif.save(tmp_path / "a.heic", quality=95, primary_index=1)
    except (RuntimeError, OSError, ValueError) as error:
        pytest.skip(f"this pillow-heif writes no HEIC: {error}")
    picture = read_picture(tmp_path / "a.heic")
    assert picture.notes == ("a.heic holds 2 images; the primary one was read.",)
    assert np.abs(picture.luminance * 255 - (255 - textured(1))).mean() < 3


@pytest.mark.parametrize(
    ("package", "start"), [("pillow_heif", b"\0\0\0\x18ftypheic"), ("pydicom", b"\0" * 128 + b"DICM")]
)
def test_what_needs_one_more_package_says_so(tmp_path, monkeypatch, package, start):
    (tmp_path / "a.bin").write_bytes(start + bytes(200))
    real = builtins.__import__

    def import_others(name, *arguments, **options):
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", import_others)
    with pytest.raises(PictureError, match='one more package; install it with pip install "refusion'):
        read_picture(tmp_path / "a.bin")


@pytest.mark.parametrize(("package", "suffix"), [("tifffile", ".tif"), ("cv2", ".png"), ("imagecodecs", ".avif")])
def test_a_package_that_is_missing_is_named(tmp_path, package, suffix):
    if suffix == ".avif":
        if not features.check("avif"):
            pytest.skip("this Pillow has no AVIF")
        (tmp_path / "a.avif").write_bytes(imagecodecs.avif_encode(DEEP >> 6, bitspersample=10))
    else:
        deep_file(tmp_path / f"a{suffix}", DEEP)
    program = "import sys; from refusion.images.reading import read_picture; read_picture(sys.argv[1])"
    result = without((package,), program, tmp_path / f"a{suffix}")
    installed = "opencv-python-headless" if package == "cv2" else package
    words = f"a{suffix} needs {installed}, which is not installed; install it with pip install {installed}."
    assert words in result.stderr


def test_a_damaged_png_of_sixteen_bits_prints_nothing(tmp_path, capfd):
    content = deep_file(tmp_path / "a.png", DEEP).read_bytes()
    middle = len(content) // 2
    for damaged in (content[:middle], content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]):
        (tmp_path / "a.png").write_bytes(damaged)
        with pytest.raises(PictureError, match=r"a\.png cannot be decoded"):
            read_picture(tmp_path / "a.png")
    assert capfd.readouterr().err == ""


def test_a_png_with_a_long_text_is_told_so(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("prompt", "x" * 5_000_000, zip=True)
    Image.fromarray(textured(1)).save(tmp_path / "a.png", pnginfo=text)
    with pytest.raises(PictureError, match=r"a\.png has more text in its metadata than Pillow reads \(1 MB\); save it"):
        read_picture(tmp_path / "a.png")


def dicom_file(path, values, **elements):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.PixelData = values.astype("<i2").tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def test_dicom(tmp_path):
    stored = np.arange(256, dtype=np.int16).reshape(16, 16) * 10
    units = {"RescaleSlope": 2, "RescaleIntercept": -1024}
    own = read_picture(dicom_file(tmp_path / "own.dcm", stored, **units))
    assert own.bits == 16
    np.testing.assert_allclose(own.luminance.ravel(), np.clip((np.arange(256) - 1) / 253, 0, 1), atol=1e-6)
    windowed = dicom_file(tmp_path / "window.dcm", stored, **units, WindowCenter=1000, WindowWidth=800)
    expected = np.clip((2.0 * stored - 1024 - 600) / 799, 0, 1)
    np.testing.assert_allclose(read_picture(windowed).luminance, expected, atol=1e-6)
    inverted = dicom_file(tmp_path / "inverted.dcm", stored, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(read_picture(inverted).luminance, 1 - own.luminance, atol=1e-6)
    with pytest.raises(PictureError, match="16 x 16"):
        read_picture(windowed, max_pixels=100)
    several = dicom_file(tmp_path / "several.dcm", stored, NumberOfFrames=3)
    with pytest.raises(PictureError, match="3 frames"):
        read_picture(several)
    whole = windowed.read_bytes()
    for length in (133, 200, len(whole) // 2, len(whole) - 10):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with pytest.raises(PictureError, match=r"cut\.dcm"):
            read_picture(tmp_path / "cut.dcm")


def test_dicom_colour_of_sixteen_bits(tmp_path):
    rng = np.random.default_rng(1)
    stored = rng.integers(0, 4096, (16, 20, 3), dtype=np.uint16)
    kinds = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
    colour = dicom_file(tmp_path / "colour.dcm", stored, PhotometricInterpretation="RGB", **kinds)
    picture = read_picture(colour)
    assert picture.bits == 16
    wanted = read_picture((stored / 4095).astype(np.float32))
    np.testing.assert_allclose(picture.luminance, wanted.luminance, atol=1e-6)
    np.testing.assert_allclose(picture.chroma, wanted.chroma, atol=1e-6)
    other = dicom_file(tmp_path / "ybr.dcm", stored, PhotometricInterpretation="YBR_FULL", **kinds)
    with pytest.raises(PictureError, match=r"ybr\.dcm has YBR_FULL colour .*export it as 16-bit PNG"):
        read_picture(other)


# TIFF with floats


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "deflate"}, {"tile": (16, 16)}, {"byteorder": ">"}, {"bigtiff": True}, {"dtype": "float64"}],
    ids=str,
)
def test_float_colour_tiff(tmp_path, options):
    colour = np.random.default_rng(1).random((20, 30, 3)).astype(options.pop("dtype", "float32"))
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb", **options)
    picture, wanted = read_picture(tmp_path / "a.tif"), read_picture(colour)
    assert picture.bits == 16
    np.testing.assert_allclose(picture.luminance, wanted.luminance, atol=1e-6)
    np.testing.assert_allclose(picture.chroma, wanted.chroma, atol=1e-6)
    tifffile.imwrite(tmp_path / "b.tif", 900 * colour - 100, photometric="rgb")
    with pytest.raises(PictureError, match="give a window"):
        read_picture(tmp_path / "b.tif")
    windowed = read_picture(tmp_path / "b.tif", window=(-100, 800))
    np.testing.assert_allclose(windowed.luminance, wanted.luminance, atol=1e-5)


def test_float_tiff_with_alpha_and_turned(tmp_path):
    values = np.random.default_rng(1).random((20, 30, 4)).astype(np.float32)
    turned = [(274, "H", 1, 6, True)]
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"], extratags=turned)
    picture, wanted = read_picture(tmp_path / "a.tif"), read_picture(np.rot90(values, -1))
    np.testing.assert_allclose(picture.luminance, wanted.luminance, atol=1e-6)
    np.testing.assert_allclose(picture.alpha, wanted.alpha, atol=1e-6)


def test_tiff_that_is_not_read_is_refused_in_a_sentence(tmp_path):
    colour = np.random.default_rng(1).random((20, 30, 3)).astype(np.float32)
    bands = {"photometric": "minisblack", "planarconfig": "contig"}
    for name, values, options, words in [
        ("five.tif", np.tile(colour, 2)[..., :5], bands, "5 bands of 32 bits, which are neither grey"),
        ("complex.tif", colour[..., 0].astype(np.complex64), {}, "complex numbers"),
        ("volume.tif", np.zeros((2, 32, 32), np.uint16), {"volumetric": True, "tile": (2, 16, 16)}, "a volume"),
        ("pages.tif", np.stack([colour, colour]), {"photometric": "rgb"}, "several frames"),
        ("imagej.tif", np.zeros((3, 20, 30), np.uint16), {"imagej": True}, "several frames"),
        ("nan.tif", np.where(colour > 0.5, np.nan, colour), {"photometric": "rgb"}, "not finite .*--nodata nan"),
    ]:
        tifffile.imwrite(tmp_path / name, values, **options)
        with pytest.raises(PictureError, match=words):
            read_picture(tmp_path / name)
    tifffile.imwrite(tmp_path / "good.tif", colour, photometric="rgb")
    with pytest.raises(PictureError, match="30 x 20 pixels, but at most 100"):
        read_picture(tmp_path / "good.tif", max_pixels=100)
    whole = (tmp_path / "good.tif").read_bytes()
    width = struct.pack("<HH", 256, 4)
    assert whole.count(width) == 1
    (tmp_path / "sizeless.tif").write_bytes(whole.replace(width, struct.pack("<HH", 64000, 4)))
    with pytest.raises(PictureError, match="its header has no size"):
        read_picture(tmp_path / "sizeless.tif")
    (tmp_path / "far.tif").write_bytes(b"II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 1))
    with pytest.raises(PictureError, match=r"far\.tif is truncated"):
        read_picture(tmp_path / "far.tif")
    for length in (7, 9, 60, len(whole) // 2, len(whole) - 10):
        (tmp_path / "cut.tif").write_bytes(whole[:length])
        with pytest.raises(PictureError, match=r"cut\.tif"):
            read_picture(tmp_path / "cut.tif")


def test_separate_planes_of_sixteen_bits(tmp_path):
    planes = np.moveaxis(DEEP, 2, 0).copy()
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(to_array(read_picture(tmp_path / "a.tif"), 16), DEEP)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_colour_tiff_is_turned_upright_once(tmp_path, dtype, orientation):
    colour = DEEP if dtype == "uint16" else (DEEP / 65535).astype(dtype)
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb", extratags=tag, bigtiff=orientation % 2 == 0)
    across = np.swapaxes(DEEP, 0, 1)
    upright = {
        1: DEEP,
        2: DEEP[:, ::-1],
        3: DEEP[::-1, ::-1],
        4: DEEP[::-1],
        5: across,
        6: across[:, ::-1],
        7: across[::-1, ::-1],
        8: across[::-1],
    }[orientation]
    np.testing.assert_array_equal(to_array(read_picture(tmp_path / "a.tif"), 16), upright)


@pytest.mark.parametrize(
    ("numbers", "kinds"), [((9, 16), "BT.2020 and PQ"), ((12, 13), "Display P3"), ((1, 18), "HLG"), ((1, 13), None)]
)
def test_hdr_and_wide_colours_that_a_file_declares_are_said(tmp_path, numbers, kinds):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    content = deep_file(tmp_path / "a.png", DEEP).read_bytes()
    (tmp_path / "a.png").write_bytes(content[:33] + chunk(b"cICP", bytes([*numbers, 0, 1])) + content[33:])
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(to_array(picture, 16), DEEP)
    assert [note.partition(" colours:")[0] for note in picture.notes] == [f"a.png declares {kinds}"] * bool(kinds)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
@pytest.mark.parametrize(("primaries", "transfer", "kinds"), [(9, 16, "BT.2020 and PQ"), (11, 13, "DCI-P3")])
def test_colours_that_an_avif_declares_are_said(tmp_path, primaries, transfer, kinds):
    file = io.BytesIO()
    Image.fromarray((DEEP >> 8).astype(np.uint8)).save(file, "AVIF")
    plain, numbers = b"colrnclx\0\x01\0\x0d", struct.pack(">HH", primaries, transfer)
    assert file.getvalue().count(plain) == 1
    (tmp_path / "a.avif").write_bytes(file.getvalue().replace(plain, plain[:8] + numbers))
    assert read_picture(tmp_path / "a.avif").notes[-1].startswith(f"a.avif declares {kinds} colours: the values are")


@pytest.mark.parametrize("window", [(-1e308, 1e308), (0, 1e300)])
def test_a_window_that_is_too_wide_to_scale_with_is_refused(window):
    with pytest.raises(PictureError) as caught:
        read_picture(np.arange(256, dtype=np.uint16).reshape(16, 16), window=window)
    sentence(caught, "A window may be 3.4e+38 wide at most", str(window))
