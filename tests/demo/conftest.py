"""What the tests of the demo have in common."""

import pytest
from gradio_client import Client
from support.demo_hub import visitors_hub


@pytest.fixture(scope="module")
def hub():
    """A server that speaks the Hub's protocol, with the models that visitors name."""
    server = visitors_hub()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    """A client of the server of the module."""
    return Client(server.url, download_files=tmp_path_factory.mktemp("downloads"), verbose=False)
