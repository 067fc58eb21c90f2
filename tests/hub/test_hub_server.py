"""Push and pull over HTTP: the real Hub client, in a process of its own, against the server of `hub_server`."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from support.hub_server import TOKEN, Fault, HubServer
from support.scenes import ROOT

from refusion.hub.folder import save_model, save_weights
from refusion.hub.names import bundled_folder, has_weights
from refusion.models.model import ReFusion
from refusion.modules.loss_proposal import LossProposalModule
from refusion.modules.reconstruction import ReconstructionModule
from refusion.tasks import TASKS
from refusion.training.record import save_record
from refusion.version import __version__

BUNDLED = [task.model for task in TASKS.values() if has_weights(task.model)]
NAME = BUNDLED[0]

WORKER = """
import contextlib, hashlib, io, json, os, sys, time
from pathlib import Path
import torch
from refusion import ReFusion
from refusion.hub.names import local_folder, locate
import refusion.cli.app

def digest(model):
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in model.state_dict().values())).hexdigest()

def cli(*arguments, token=None):
    sys.argv = ["refusion", *arguments]
    if token:
        os.environ["HF_TOKEN"] = token
    try:
        refusion.cli.app.main()
    except SystemExit as exit:
        return exit.code or 0
    finally:
        os.environ.pop("HF_TOKEN", None)

answers = sys.stdout
for line in sys.stdin:
    scope = {**globals(), "result": None}
    output = io.StringIO()
    answer = {}
    start = time.monotonic()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            exec(json.loads(line), scope)
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    answer |= {"result": scope["result"], "output": output.getvalue(), "seconds": time.monotonic() - start}
    print(json.dumps(answer), file=answers, flush=True)
"""


class Client:
    """A Python process in which `HF_ENDPOINT` is the server; it runs one piece of code after the other."""

    def __init__(self, endpoint: str, home: Path, **environment: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "REFUSION"))}
        self.environment = {
            **inherited,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        self.folder = home.parent
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
        )

    def ask(self, code: str) -> dict:
        """Run the code; the answer has its `result`, its `output`, and an `error` with a `message` if it failed."""
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert TOKEN not in json.dumps(answer)
        return answer

    def run(self, code: str):
        """Run code that has to work, and return its `result`."""
        answer = self.ask(code)
        assert "error" not in answer, answer
        return answer["result"]

    def fails(self, code: str, *words: str) -> dict:
        """Run code that has to fail with a sentence that holds the words."""
        answer = self.ask(code)
        assert answer.get("error") in ("ModelError", "UnknownModelError", "NoWeightsError", "HubError"), answer
        for word in words:
            assert word in answer["message"]
        return answer


@pytest.fixture(scope="module")
def server():
    with HubServer() as running:
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    running = Client(server.endpoint, tmp_path_factory.mktemp("client") / "home")
    yield running
    running.process.stdin.close()
    running.process.wait(60)


@pytest.fixture(autouse=True)
def _no_faults(server):
    server.faults.clear()
    server.requests.clear()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def bundled() -> dict[str, bytes]:
    return files_of(bundled_folder(NAME))


def published(server: HubServer, repo_id: str, revision: str = "main") -> dict[str, bytes]:
    repository = server.repositories[repo_id]
    files = dict(repository.commits[repository.resolve(revision)])
    files.pop(".gitattributes", None)
    return files


def digest(content: bytes) -> str:
    model = ReFusion()
    model.load_state_dict(load(content))
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in model.state_dict().values())).hexdigest()


def other_weights(content: bytes) -> bytes:
    """The same weights but for one."""
    weights = load(content)
    weights["project_out_1.weight"] += 1
    return save(weights, {"format": "pt"})


def without(files: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name not in names}


@pytest.mark.parametrize("name", BUNDLED)
def test_a_push_of_bundled_weights_is_their_folder_byte_for_byte_and_comes_back(server, client, name):
    address = client.run(
        f"result = ReFusion.from_pretrained({name!r}).push_to_hub('lab/{name}', token={TOKEN!r}, tag='v1')"
    )
    assert address.startswith(f"{server.endpoint}/lab/{name}/commit/")
    assert published(server, f"lab/{name}", "v1") == files_of(bundled_folder(name))
    loaded = client.run(
        f"m = ReFusion.from_pretrained('lab/{name}', revision='v1'); result = [digest(m), m.config, m.training]"
    )
    folder = bundled_folder(name)
    assert loaded == [
        digest((folder / "model.safetensors").read_bytes()),
        json.loads((folder / "config.json").read_text()),
        False,
    ]
    agents = {
        line: {k.lower(): v for k, v in headers.items()}["user-agent"]
        for line, headers in server.requests
        if f"lab/{name}" in line or "create" in line
    }
    assert len(agents) > 10
    assert [line for line, agent in agents.items() if f"refusion/{__version__}" not in agent] == []


def test_revisions_are_branches_tags_and_commits(server, client, bundled):
    repository = server.add("lab/moving", bundled)
    first = repository.branches["main"]
    repository.tags["v1"] = first
    changed = {**without(bundled, "SHA256SUMS"), "model.safetensors": other_weights(bundled["model.safetensors"])}
    second = repository.commit("main", changed, "second")
    repository.branches["draft/x"] = first
    revisions = ["v1", first, first[:7], "draft/x", None, second]
    digests = client.run(
        "result = {}\n"
        f"for revision in {[r for r in revisions if r != first[:7]]!r}:\n"
        "    result[str(revision)] = digest(ReFusion.from_pretrained('lab/moving', revision=revision))"
    )
    old, new = digest(bundled["model.safetensors"]), digest(changed["model.safetensors"])
    assert digests == {"v1": old, first: old, "draft/x": old, "None": new, second: new}
    client.fails("ReFusion.from_pretrained('lab/moving', revision='v9')", "lab/moving has no revision v9")


def test_commands_take_a_revision(server, client, bundled):
    repository = server.add("lab/command", bundled)
    repository.tags["v1"] = repository.branches["main"]
    changed = {**without(bundled, "SHA256SUMS"), "model.safetensors": other_weights(bundled["model.safetensors"])}
    repository.commit("main", changed, "second")
    codes, old, new, fused = client.run(
        "import numpy as np\n"
        "from PIL import Image\n"
        "for seed, folder in enumerate(('pairs/ir', 'pairs/vis')):\n"
        "    os.makedirs(folder)\n"
        "    noise = np.random.default_rng(seed).integers(0, 256, (24, 32), np.uint8)\n"
        "    Image.fromarray(noise).save(f'{folder}/x.png')\n"
        "pair, model = ('pairs/ir/x.png', 'pairs/vis/x.png'), ('--model', 'lab/command', '--revision', 'v1')\n"
        "codes = [\n"
        "    cli('fuse', *pair, '-o', 'one.png', *model),\n"
        "    cli('fuse', 'pairs/ir', 'pairs/vis', '-o', 'folder', *model),\n"
        "    cli('explain', *pair, *model),\n"
        "    cli('evaluate', '--data', 'pairs', *model),\n"
        "]\n"
        "fused = [np.asarray(Image.open(path)).tolist() for path in ('one.png', 'folder/x.png')]\n"
        f"names = {NAME!r}, 'lab/command'\n"
        "old, new = (ReFusion.from_pretrained(name).fuse(*pair).to_array().tolist() for name in names)\n"
        "result = codes, old, new, fused"
    )
    assert codes == [0] * 4
    assert fused == [old, old]
    assert new != old


def test_tags_do_not_move(server, client, bundled):
    server.add("lab/tagged", without(bundled, "README.md")).tags["v1"] = "0" * 40
    before = dict(server.repositories["lab/tagged"].branches)
    client.fails(
        f"ReFusion.from_pretrained({NAME!r}).push_to_hub('lab/tagged', token={TOKEN!r}, tag='v1')",
        "already has the tag v1",
    )
    assert server.repositories["lab/tagged"].branches == before


def test_branches_and_pull_requests(server, client, bundled):
    server.add("lab/branched", {"config.json": b"{}"})
    address = client.run(
        f"m = ReFusion.from_pretrained({NAME!r})\n"
        f"m.push_to_hub('lab/branched', token={TOKEN!r}, branch='next', commit_message='Try', tag='try')\n"
        f"result = m.push_to_hub('lab/branched', token={TOKEN!r}, create_pr=True)"
    )
    assert published(server, "lab/branched", "next") == published(server, "lab/branched", "refs/pr/1") == bundled
    assert published(server, "lab/branched") == {"config.json": b"{}"}
    repository = server.repositories["lab/branched"]
    assert "Try" in repository.messages.values()
    assert repository.tags["try"] == repository.branches["next"]
    assert address.endswith("/discussions/1")


def test_an_organisation_serves_the_bare_names(server, client, bundled):
    changed = {**without(bundled, "SHA256SUMS"), "model.safetensors": other_weights(bundled["model.safetensors"])}
    server.add(f"own/{NAME}", changed)
    # Not even a folder of the repository's name wins over it.
    loaded = client.run(
        f"Path('own/{NAME}').mkdir(parents=True)\n"
        "os.environ['REFUSION_HUB_ORG'] = 'own'\n"
        "try:\n"
        f"    result = digest(ReFusion.from_pretrained({NAME!r}))\n"
        "finally:\n"
        "    del os.environ['REFUSION_HUB_ORG']"
    )
    assert loaded == digest(changed["model.safetensors"])


def test_private_repositories_want_a_token(server, client, bundled):
    server.add("lab/secret", bundled, private=True)
    client.fails("ReFusion.from_pretrained('lab/secret')", "lab/secret", "private", "hf auth login")
    client.fails("ReFusion.from_pretrained('lab/secret', token='hf_wrong')", "lab/secret", "401", "hf auth login")
    assert client.run(f"result = digest(ReFusion.from_pretrained('lab/secret', token={TOKEN!r}))") == digest(
        bundled["model.safetensors"]
    )


def test_a_token_is_never_shown(client):
    for token in ("hf_line\\nbreak", "hf_ünïcode"):
        answer = client.fails(f"ReFusion.from_pretrained('lab/secret', token='{token}')", "lab/secret", "the token")
        assert "hf_" not in answer["message"]


def test_what_is_missing_is_named(server, client, bundled):
    client.fails(
        "ReFusion.from_pretrained('lab/nothing')",
        "There is no model lab/nothing on the Hub",
        "Nor is there a folder lab/nothing here.",
    )
    client.fails("ReFusion.from_pretrained('lab/nothing/more')", "OWNER/NAME")
    server.add("lab/no-config", without(bundled, "config.json"))
    client.fails("ReFusion.from_pretrained('lab/no-config')", "lab/no-config has no config.json")
    server.add("lab/no-weights", {**without(bundled, "model.safetensors"), "pytorch_model.bin": b"a pickle"})
    client.fails("ReFusion.from_pretrained('lab/no-weights')", "There is no lab/no-weights/model.safetensors")
    assert not any("pytorch_model.bin" in line for line, _ in server.requests)


def test_only_a_model_that_is_missing_is_said_to_be_no_folder_either(server, client):
    imports = (
        "from refusion.hub.push import push_collection\n"
        "from refusion.pairs.dataset import load_pairs\n"
        "from refusion.tasks import get_task\n"
    )
    for code, words in (
        ("load_pairs('lab/pairs', get_task('ir-vis'))", "There is no data set lab/pairs on the Hub"),
        (f"push_collection('lab', ['lab/nothing'], token={TOKEN!r})", "There is no repository lab/nothing on the Hub"),
        ("push_collection('lab', [], token='hf_wrong')", "The Hub refuses the collection of lab (401"),
    ):
        assert "folder" not in client.fails(imports + code, words)["message"]


def test_a_checksum_that_does_not_match_is_named(server, client, bundled):
    server.add("lab/swapped", {**bundled, "model.safetensors": other_weights(bundled["model.safetensors"])})
    client.fails("ReFusion.from_pretrained('lab/swapped')", "lab/swapped", "model.safetensors", "SHA256SUMS")
    server.add("lab/truncated", {**without(bundled, "SHA256SUMS"), "model.safetensors": b"\x08" * 100})
    client.fails("ReFusion.from_pretrained('lab/truncated')", "lab/truncated/model.safetensors is damaged")


def test_server_errors_are_sentences(server, client, bundled):
    server.add("lab/down", bundled)
    server.faults += [Fault("/api/models/lab/down", status=503), Fault("/api/repos/create", status=500)]
    client.fails("ReFusion.from_pretrained('lab/down')", "The Hub answered 503 for lab/down", "try again later")
    client.fails(f"ReFusion.from_pretrained({NAME!r}).push_to_hub('lab/down', token={TOKEN!r})", "500", "lab/down")
    server.faults.clear()
    client.run("ReFusion.from_pretrained('lab/down')")


def test_a_download_that_broke_off_is_completed_by_the_next(server, client, bundled):
    server.add("lab/broken-off", bundled)
    server.faults.append(Fault("/model.safetensors"))
    client.fails("ReFusion.from_pretrained('lab/broken-off')", "during the transfer of lab/broken-off", "try again")
    client.fails("ReFusion.from_pretrained('lab/broken-off', local_files_only=True)", "lab/broken-off")
    server.faults.clear()
    assert client.run("result = digest(ReFusion.from_pretrained('lab/broken-off'))") == digest(
        bundled["model.safetensors"]
    )
    assert client.run("result = digest(ReFusion.from_pretrained('lab/broken-off', local_files_only=True))")


def test_the_options_of_a_download_are_passed_on(server, client, bundled):
    server.add("lab/options", bundled)
    client.fails("ReFusion.from_pretrained('lab/options', local_files_only=True)", "lab/options", "local_files_only")
    client.run("ReFusion.from_pretrained('lab/options', cache_dir='elsewhere')")
    assert (client.folder / "elsewhere" / "models--lab--options").is_dir()
    server.requests.clear()
    client.run("ReFusion.from_pretrained('lab/options', cache_dir='elsewhere')")
    assert not any("/resolve/" in line for line, _ in server.requests)
    client.run("ReFusion.from_pretrained('lab/options', cache_dir='elsewhere', force_download=True)")
    assert any(line.startswith("GET") and line.endswith("/model.safetensors") for line, _ in server.requests)
    client.fails(
        "ReFusion.from_pretrained('lab/options', force_download=True, local_files_only=True)", "force_download"
    )


def test_offline_a_cached_revision_loads_and_another_fails_at_once(server, client, bundled):
    repository = server.add("lab/cached", bundled)
    repository.tags["v1"] = repository.branches["main"]
    client.run("ReFusion.from_pretrained('lab/cached', revision='v1')")
    offline = Client(server.endpoint, client.folder / "home", HF_HUB_OFFLINE="1")
    server.requests.clear()
    assert offline.run("result = digest(ReFusion.from_pretrained('lab/cached', revision='v1'))") == digest(
        bundled["model.safetensors"]
    )
    answer = offline.fails(
        "ReFusion.from_pretrained('lab/cached', revision='v2')",
        "lab/cached (revision v2) is not in the cache",
        "HF_HUB_OFFLINE",
        "hf download lab/cached --revision v2",
    )
    assert answer["seconds"] < 5
    again = "ReFusion.from_pretrained('lab/cached', revision='v1', force_download=True)"
    offline.fails(again, "cannot be downloaded again offline")
    assert offline.run(f"result = digest(ReFusion.from_pretrained({NAME!r}))") == digest(bundled["model.safetensors"])
    assert server.requests == []
    offline.process.stdin.close()
    offline.process.wait(60)


def test_hf_download_gives_a_folder_that_loads(server, client, bundled, tmp_path):
    server.add("lab/by-hand", {**bundled, ".gitattributes": b""})
    program = shutil.which("hf", path=Path(sys.executable).parent)
    command = [program, "download", "lab/by-hand", "--local-dir", "here"]
    done = subprocess.run(command, env=client.environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert without(files_of(tmp_path / "here"), ".gitattributes") == bundled
    assert ReFusion.from_pretrained(tmp_path / "here").task.model == NAME


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """A folder as train.py leaves it, with a card of before and a checkpoint in it."""
    folder = tmp_path / "ir-vis"
    folder.mkdir()
    torch.manual_seed(3)
    model = ReFusion()
    save_model(folder, model, model.config)
    save_weights(LossProposalModule(), folder / "loss_proposal.safetensors")
    save_weights(ReconstructionModule(), folder / "reconstruction.safetensors")
    (folder / "checkpoint.pt").write_bytes(b"a pickle")
    (folder / "README.md").write_text("an old card")
    settings = {"task": "ir-vis", "from": NAME, "minutes": 5.0, "pairs": 77, "threads": 1, "settings": {"lr": 0.002}}
    (folder / "history.jsonl").write_text('{"step": 10, "seconds": 3.0, "fusion": 0.5, "reconstruction": 0.4}\n')
    save_record(folder, settings)
    return folder


def test_the_push_command_publishes_a_run_with_a_new_card(server, client, run_folder):
    server.add("lab/mine", {"README.md": b"older still", "scores.json": b"{}", "notes.txt": b"kept"})
    code = client.run(f"result = cli('push', {str(run_folder)!r}, 'lab/mine', '--tag', 'v1', token={TOKEN!r})")
    assert code == 0
    files = published(server, "lab/mine", "v1")
    expected = "README.md SHA256SUMS config.json history.jsonl loss_proposal.safetensors model.safetensors notes.txt"
    assert set(files) == {*expected.split(), "reconstruction.safetensors", "training.json"}
    card = files["README.md"].decode()
    assert f"base_model: {NAME}" in card
    assert 'ReFusion.from_pretrained("lab/mine")' in card
    assert "77 registered pairs" in card
    assert f"--from {NAME}" in card
    assert "Not scored yet" in card
    # The card is the same when it is made from what was published.
    again = client.run(
        "m = ReFusion.from_pretrained('lab/mine', revision='v1'); result = str(m.generate_model_card('lab/mine'))"
    )
    assert again == card
    # What train.py --from and the explanation start from came along.
    assert client.run("result = sorted(p.name for p in local_folder(locate('lab/mine')).iterdir())") == sorted(
        name for name in files if name not in ("README.md", "notes.txt")
    )


def test_the_push_command_publishes_all_four_and_a_collection(server, client):
    for _ in range(2):
        answer = client.ask(f"result = cli('push', '--all', 'four', token={TOKEN!r})")
        assert answer["result"] == 0, answer
    for name in BUNDLED:
        assert published(server, f"four/{name}") == files_of(bundled_folder(name))
    for task in TASKS.values():
        if task.model not in BUNDLED:
            assert f"{task.model}: not pushed" in answer["output"]
    (collection,) = (one for slug, one in server.collections.items() if slug.startswith("four/"))
    assert [item["id"] for item in collection["items"]] == [f"four/{name}" for name in BUNDLED]
    assert collection["slug"] in answer["output"]
    hidden = (
        f"from refusion.hub.push import push_collection\npush_collection('hidden', [], private=True, token={TOKEN!r})"
    )
    client.run(hidden)
    of_hidden = [one["private"] for slug, one in server.collections.items() if slug.startswith("hidden/")]
    assert (collection["private"], of_hidden) == (False, [True])


def test_a_push_that_may_not_be_is_refused_before_anything_is_there(server, client, run_folder):
    push = f"ReFusion.from_pretrained(Path({str(run_folder)!r})).push_to_hub"
    client.fails(f"{push}('lab/new')", "The Hub refuses the repository lab/new (401", "hf auth login")
    client.fails(f"{push}('new', token={TOKEN!r})", "OWNER/NAME")
    client.fails(f"{push}('lab/new', token={TOKEN!r}, config={{'task': 'medical'}})", "leave config out")
    client.fails(f"{push}('lab/new', token={TOKEN!r}, tag='v1', create_pr=True)", "leave tag or create_pr out")
    (run_folder / "reconstruction.safetensors").write_bytes(b"\x08" * 100)
    client.fails(f"{push}('lab/new', token={TOKEN!r})", "reconstruction.safetensors is damaged")
    assert client.run("result = cli('push', 'lab/new')") == 2
    assert client.run("result = cli('push', 'a', 'b/c', '--all', 'd')") == 2
    assert "lab/new" not in server.repositories
    client.run(f"m = ReFusion.from_pretrained({NAME!r}); m.push_to_hub('lab/new', token={TOKEN!r}, private=True)")
    assert server.repositories["lab/new"].private
