"""A Hub for the visitors of a demo."""

from safetensors.torch import load, save
from support.hub_server import HubServer

from refusion.demo.models import MAX_HUB_BYTES
from refusion.hub.checksums import CHECKSUMS
from refusion.hub.folder import CONFIG, FACTS, WEIGHTS
from refusion.hub.names import bundled_folder
from refusion.models.model import ReFusion


def visitors_hub() -> HubServer:
    """A Hub with a model whose tag v1 has other weights than its main branch, and with models of several kinds.

    They are a slow one, a private one, one with the files of its card, one with large weights, one with large
    checksums, and one of another library.
    """
    bundled = bundled_folder("refusion-ir-vis")
    server = HubServer()
    model = {name: (bundled / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    other = {key: 1.05 * value for key, value in load(model[WEIGHTS]).items()}
    repository = server.add("visitor/refusion", {CONFIG: model[CONFIG], WEIGHTS: save(other)})
    repository.tags["v1"] = repository.branches["main"]
    repository.commit("main", model, "second")
    server.add("visitor/slow", model)
    server.add("visitor/private", model, private=True)
    server.add("visitor/card", model | dict.fromkeys(FACTS, b"{}"))
    server.add("visitor/large", {CONFIG: model[CONFIG], WEIGHTS: bytes(MAX_HUB_BYTES + 1)})
    server.add("visitor/checksums", model | {CHECKSUMS: bytes(MAX_HUB_BYTES)})
    server.add("visitor/foreign", {CONFIG: b'{"model_type": "bert"}', WEIGHTS: model[WEIGHTS]})
    return server


def fused_by_tag(server: HubServer, pair, folder):
    """What the weights of the tag v1 make of a pair, from a folder."""
    repository = server.repositories["visitor/refusion"]
    for name, content in repository.commits[repository.tags["v1"]].items():
        (folder / name).write_bytes(content)
    return ReFusion.from_pretrained(folder).fuse(*pair)
