"""What an image can be given as, besides files, Pillow images and arrays."""

import http.server
import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from support.scenes import EXAMPLES, textured

import refusion
from refusion.images import PictureError, read_picture, to_array

PAIR = (EXAMPLES / "ir-vis_ir.png", EXAMPLES / "ir-vis_vis.png")


@pytest.fixture
def colour() -> np.ndarray:
    return np.stack([textured(seed) for seed in (1, 2, 3)], axis=-1)


@pytest.fixture(scope="module")
def served():
    """The address of the folder of examples, and the requests that came."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(EXAMPLES))

        def do_GET(self):
            asked.append(self.path)
            if self.path == "/elsewhere":
                self.send_response(302)
                self.send_header("Location", "file:///etc/hostname")
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def same(one, other) -> bool:
    one, other = read_picture(one), read_picture(other)
    chroma = (one.chroma is None) == (other.chroma is None)
    return chroma and np.array_equal(one.luminance, other.luminance)


def test_tensors_have_their_channels_first(colour):
    tensor = torch.from_numpy(colour).permute(2, 0, 1)
    assert same(tensor, colour)
    assert same(tensor[None], colour)
    assert same(tensor[0], colour[..., 0])
    assert same(tensor[:1], colour[..., 0])
    floats = tensor / 255
    assert np.abs(read_picture(floats).luminance - read_picture(colour).luminance).max() < 1e-6
    assert np.abs(read_picture(floats.bfloat16()).luminance - read_picture(colour).luminance).max() < 1 / 128
    assert same(floats.requires_grad_(), floats.detach())


def test_a_small_tensor_is_not_taken_for_channels_last():
    with pytest.raises(PictureError, match=r"\(48, 64, 3\) was given"):
        read_picture(torch.zeros(48, 64, 3))


def test_what_holds_no_values_fails_alone(colour):
    class OnGpu:
        def __array__(self, *args, **kwargs):
            raise TypeError("Implicit conversion to a NumPy array is not allowed")

    tensor = torch.rand(32, 40)
    bad = (tensor.to_sparse(), tensor.to("meta"), torch.complex(tensor, tensor).conj(), OnGpu())
    outcomes = list(refusion.fuse_many([*((one, tensor) for one in bad), (tensor, tensor)]))
    for outcome in outcomes[:-1]:
        assert isinstance(outcome.error, PictureError)
        assert "cannot be read as an image" in outcome.reason
    assert outcomes[-1].fused.size == (40, 32)


def test_a_batch_goes_to_fuse_many(colour):
    first = torch.from_numpy(np.stack([textured(4), textured(5)]))[:, None]
    second = torch.from_numpy(np.stack([colour, colour])).permute(0, 3, 1, 2)
    with pytest.raises(PictureError, match=r"fuse_many\(zip\(a, b\)\)"):
        refusion.fuse(first, second)
    outcomes = list(refusion.fuse_many(zip(first, second, strict=True)))
    assert [outcome.fused.to_array().shape for outcome in outcomes] == [colour.shape] * 2


def test_many_pairs_may_share_and_reuse_their_sources(tmp_path):
    levels = [20, 60, 100, 140, 180, 220]
    other = textured(3)
    pages = [Image.fromarray(np.full(other.shape, level, np.uint8)) for level in levels]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    Image.fromarray(other).save(tmp_path / "other.png")
    expected = [np.asarray(refusion.fuse(page, other)) for page in pages]
    buffer = np.empty_like(other)

    def by_buffer(shared):
        for level in levels:
            buffer[:] = level
            yield buffer, shared

    def by_page(shared):
        with Image.open(tmp_path / "pages.tif") as image:
            for page in range(len(levels)):
                image.seek(page)
                yield image, shared

    for pairs in (by_buffer, by_page):
        with Image.open(tmp_path / "other.png") as shared:
            outcomes = list(refusion.fuse_many(pairs(shared)))
        assert [outcome.reason for outcome in outcomes] == [""] * len(levels)
        for outcome, wanted in zip(outcomes, expected, strict=True):
            np.testing.assert_allclose(np.asarray(outcome.fused), wanted, atol=1)


def test_bytes_are_those_of_a_file():
    content = PAIR[1].read_bytes()
    assert same(content, PAIR[1])
    assert same(memoryview(content), PAIR[1])
    with pytest.raises(PictureError, match="The file in memory"):
        read_picture(b"no image")


def test_arrays_with_channels_first_are_taken_by_a_flag(colour):
    grey = textured(7)
    expected = np.asarray(refusion.fuse(grey, colour))
    fused = refusion.fuse(grey[None], np.moveaxis(colour, -1, 0)[None], channels_first=True)
    assert np.array_equal(np.asarray(fused), expected)
    with pytest.raises(PictureError, match="channels last"):
        refusion.fuse(grey, np.moveaxis(colour, -1, 0))


def test_addresses_are_downloaded_only_when_asked(served):
    address, asked = served
    a, b = (f"{address}/{path.name}" for path in PAIR)
    with pytest.raises(PictureError, match="urls=True"):
        refusion.fuse(a, b)
    assert asked == []
    fused = refusion.fuse(a, b, urls=True)
    assert np.array_equal(np.asarray(fused), np.asarray(refusion.fuse(*PAIR)))


def test_what_cannot_be_downloaded_says_so(served):
    address, _ = served
    with pytest.raises(PictureError, match=r"missing\.png cannot be downloaded: File not found"):
        refusion.fuse(f"{address}/missing.png", PAIR[1], urls=True)
    with pytest.raises(PictureError, match="cannot be downloaded"):
        refusion.fuse("http://127.0.0.1:9/a.png", PAIR[1], urls=True)


def test_a_redirection_to_a_file_is_not_followed(served):
    address, _ = served
    with pytest.raises(PictureError, match="cannot be downloaded"):
        refusion.fuse(f"{address}/elsewhere", PAIR[1], urls=True)


def test_a_fused_image_is_an_array_and_shows_itself():
    fused = refusion.fuse(*PAIR)
    array = np.asarray(fused)
    assert array.shape == (*fused.size[::-1], 3)
    width, height = fused.size
    assert repr(fused) == f"Fused({width} x {height}, colour, 8 bits)"
    for content in (fused._repr_png_(), fused.to_png()):
        with Image.open(io.BytesIO(content)) as shown:
            assert np.array_equal(np.asarray(shown), array)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        with pytest.raises(ValueError, match="without a copy"):
            np.array(fused, copy=False)


def test_png_bytes_have_the_depth_and_the_pixels_of_the_file(tmp_path):
    deep, colour = textured(1).astype(np.uint16) * 257, np.dstack([textured(seed) for seed in (2, 3, 4)])
    fused = refusion.fuse(deep, colour)
    fused.save(tmp_path / "fused.png")
    assert fused.to_png() == (tmp_path / "fused.png").read_bytes()
    assert read_picture(fused.to_png()).bits == 16
    assert read_picture(fused.to_png(bits=8)).bits == 8


def test_a_fused_array_with_alpha_is_a_source_again():
    grey, alpha = textured(1), np.full((48, 64), 200, np.uint8)
    given = np.dstack([grey, alpha])
    picture = read_picture(given)
    assert picture.chroma is None
    assert np.abs(to_array(picture).astype(int) - given).max() <= 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.open(encoding="latin-1"), "scene.png is not open for reading bytes; open it with mode 'rb'"),
        (lambda path: path.open("ab"), "scene.png is not open for reading bytes; open it with mode 'rb'"),
        (lambda path: io.StringIO("x" * 100), "the open file is not open for reading bytes"),
        (lambda path: io.BytesIO(b""), "the open file is empty"),
        (lambda path: b"", "The file in memory is empty"),
        (lambda path: np.zeros((3, 48, 64), np.uint8), "fuse with channels_first=True"),
        (lambda path: np.zeros((30, 48, 64), np.uint8), "fused one by one, in Python with fuse_many"),
        (lambda path: np.zeros((48, 64), np.complex64), "but complex64 was given."),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, make, words):
    Image.fromarray(textured(1)).save(tmp_path / "scene.png")
    source = make(tmp_path / "scene.png")
    with pytest.raises(PictureError, match=words):
        read_picture(source)
    if hasattr(source, "close"):
        source.close()
        with pytest.raises(PictureError, match="is a closed file; open it again, or give its path"):
            read_picture(source)
