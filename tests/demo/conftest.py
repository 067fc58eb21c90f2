"""What the tests of the demo have in common."""

import pytest
from gradio_client import Client


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    """A client of the server of the module."""
    return Client(server.url, download_files=tmp_path_factory.mktemp("downloads"), verbose=False)
