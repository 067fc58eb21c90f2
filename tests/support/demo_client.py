"""What the tests of the demo send and compare."""

import struct
import zlib

import httpx
import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from support.command import refusion

from refusion.hub.names import has_weights
from refusion.tasks import TASKS

MODEL = TASKS["ir-vis"].model
needs_weights = pytest.mark.skipif(not has_weights(MODEL), reason=f"the weights {MODEL} are not bundled")
FLAGS = ("--max-megapixels", "1", "--max-file-mb", "3")


def fuse(client, a, b, task="ir_vis", **settings):
    return fuse_with_notes(client, a, b, task, **settings)[0]


def fuse_with_notes(client, a, b, task="ir_vis", **settings):
    a, b = (None if source is None else handle_file(source) for source in (a, b))
    return client.predict(a, b, api_name=f"/fuse_{task}", **settings)


def refusal(client, a, b, **settings):
    with pytest.raises(AppError) as caught:
        fuse(client, a, b, **settings)
    return str(caught.value)


def by_command(tmp_path, *arguments):
    """The file that `refusion fuse` writes."""
    output = tmp_path / "by_command.png"
    done = refusion("fuse", *arguments, "-o", output)
    assert done.code == 0, done.err
    return output


def assert_same_picture(path, other):
    with Image.open(path) as one, Image.open(other) as two:
        assert (one.format, one.mode, one.size) == (two.format, two.mode, two.size)
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


def components(config, kind):
    return [component["props"] for component in config["components"] if component["type"] == kind]


def png_claiming(width, height, data=b""):
    """A PNG file whose header claims a size; grey, 8 bits."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def call(server, name, data):
    """Call an endpoint with data that no proper client sends; returns what the server says."""
    answer = httpx.post(f"{server.url}/gradio_api/call/{name}", json={"data": data})
    event = answer.json()["event_id"]
    return httpx.get(f"{server.url}/gradio_api/call/{name}/{event}", timeout=60).text
