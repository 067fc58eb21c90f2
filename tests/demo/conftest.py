"""What the tests of the demo have in common."""

import numpy as np
import pytest
from gradio_client import Client
from PIL import ExifTags, Image
from support.demo_client import FLAGS
from support.demo_hub import visitors_hub
from support.demo_server import Server

from refusion.demo.options import DemoOptions
from refusion.demo.service import Fusing


@pytest.fixture(scope="module")
def hub():
    """A server that speaks the Hub's protocol, with the models that visitors name."""
    server = visitors_hub()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    """A client of the server."""
    client = Client(server.url, download_files=tmp_path_factory.mktemp("downloads"), verbose=False)
    yield client
    client.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server for the tests of all modules that have none of their own: starting one takes ten seconds."""
    server = Server(tmp_path_factory.mktemp("server"), *FLAGS)
    yield server
    server.stop()


@pytest.fixture
def pair(tmp_path):
    """A 16-bit infrared PNG with detail below 8 bits, and a coloured JPEG that lies on its side."""
    rng = np.random.default_rng(5)
    slope = np.linspace(20000, 20400, 64) + rng.integers(0, 200, (48, 64))
    Image.fromarray(slope.astype(np.uint16)).save(tmp_path / "ir.png")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    colour = Image.fromarray(rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)).resize((48, 64), Image.Resampling.BICUBIC)
    colour.save(tmp_path / "visible.jpg", exif=exif)
    return tmp_path / "ir.png", tmp_path / "visible.jpg"


@pytest.fixture(scope="module")
def fusing():
    return Fusing(DemoOptions(max_megapixels=1, max_file_mb=3))
