"""A Hub for the visitors of a demo."""

from safetensors.torch import load, save
from support.hub_server import HubServer

from refusion.demo.models import MAX_HUB_BYTES
from refusion.hub.folder import CONFIG, WEIGHTS
from refusion.hub.names import bundled_folder
from refusion.models.model import ReFusion


def visitors_hub() -> HubServer:
    """A Hub with a model whose tag v1 has other weights than its main branch, a private, a large and a foreign one."""
    bundled = bundled_folder("refusion-ir-vis")
    server = HubServer()
    model = {name: (bundled / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    other = {key: 1.05 * value for key, value in load(model[WEIGHTS]).items()}
    repository = server.add("visitor/refusion", {CONFIG: model[CONFIG], WEIGHTS: save(other)})
    repository.tags["v1"] = repository.branches["main"]
    repository.commit("main", model, "second")
    server.add("visitor/slow", model)
    server.add("visitor/private", model, private=True)
    server.add("visitor/large", {CONFIG: model[CONFIG], WEIGHTS: bytes(MAX_HUB_BYTES + 1)})
    server.add("visitor/foreign", {CONFIG: b'{"model_type": "bert"}', WEIGHTS: model[WEIGHTS]})
    return server


def fused_by_tag(server: HubServer, pair, folder):
    """What the weights of the tag v1 make of a pair, from a folder."""
    repository = server.repositories["visitor/refusion"]
    for name, content in repository.commits[repository.tags["v1"]].items():
        (folder / name).write_bytes(content)
    return ReFusion.from_pretrained(folder).fuse(*pair)
