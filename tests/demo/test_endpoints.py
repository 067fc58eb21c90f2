"""The endpoints of the demo, as `python app.py` serves them: what programs get, and what is refused."""

import re
import shutil
import subprocess
import sys
import zlib

import httpx
import numpy as np
import pytest
from gradio_client import handle_file
from PIL import Image
from support.demo_client import assert_same_picture, by_command, fuse, needs_weights, png_claiming, refusal
from support.demo_server import ROOT, files

from refusion.hub.names import has_weights
from refusion.images import read_picture
from refusion.metrics.fusion import score
from refusion.metrics.scoring import scored_metrics
from refusion.tasks import TASKS


@needs_weights
def test_what_programs_get_is_what_the_command_writes(client, pair, tmp_path):
    assert_same_picture(fuse(client, *pair), by_command(tmp_path, *pair))


@needs_weights
def test_the_programs_in_the_documentation_run_as_printed(server, tmp_path):
    blocks = re.findall(r"```(python|sh)\n(.*?)```", (ROOT / "docs/demo.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "space").symlink_to(ROOT / "space")
    wanted = by_command(tmp_path, *sorted((ROOT / "space/examples").glob("ir-vis_*")), "--output-range", "contrast")
    printed = {}
    for language, text in blocks:
        if language == "sh" and not (shutil.which("curl") and shutil.which("jq")):
            pytest.skip("curl and jq are not installed")
        program = [sys.executable, "-c"] if language == "python" else ["bash", "-ec"]
        command = [*program, text.replace("http://127.0.0.1:7860", server.url)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed[language] = done.stdout.splitlines()[-1]
    assert_same_picture(printed["python"].split()[0], wanted)
    assert_same_picture(tmp_path / "fused.png", wanted)
    assert printed["sh"] == "[]"


@needs_weights
def test_sixteen_bits_survive(client, pair, tmp_path):
    deep = np.linspace(9000, 9900, 48 * 64).reshape(48, 64).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    fused = fuse(client, pair[0], tmp_path / "deep.png")
    with Image.open(fused) as image:
        assert image.mode.startswith("I;16")
    assert_same_picture(fused, by_command(tmp_path, pair[0], tmp_path / "deep.png"))


@needs_weights
def test_settings_reach_the_fusion(client, pair, tmp_path):
    fused = fuse(client, *pair, output_range="stretch", anchor="none")
    assert_same_picture(fused, by_command(tmp_path, *pair, "--stretch"))


@pytest.mark.parametrize("task", [task for task in TASKS.values() if has_weights(task.model)], ids=lambda t: t.name)
def test_every_task_has_an_example_that_fuses(client, task, tmp_path):
    a, b = (ROOT / f"space/examples/{task.name}_{folder}.png" for folder in task.folders)
    small = [tmp_path / a.name, tmp_path / b.name]
    for source, target in zip((a, b), small, strict=True):
        with Image.open(source) as image:
            image.crop((0, 0, 96, 64)).save(target)
    fused = fuse(client, *small, task=task.name.replace("-", "_"))
    assert_same_picture(fused, by_command(tmp_path, *small, "--task", task.name))


@needs_weights
def test_evaluate_scores_a_fused_picture_or_fuses_first(client, pair, tmp_path):
    fused = fuse(client, *pair)
    given = client.predict(handle_file(pair[0]), handle_file(pair[1]), handle_file(fused), api_name="/evaluate")
    own = client.predict(handle_file(pair[0]), handle_file(pair[1]), api_name="/evaluate")
    arrays = [np.rint(read_picture(path).luminance.astype(np.float64) * 255) for path in (*pair, fused)]
    wanted = score(*arrays)
    assert set(given) == set(scored_metrics(TASKS["ir-vis"]))
    assert {name: given[name] for name in wanted} == pytest.approx(wanted)
    assert own == pytest.approx(given)


@needs_weights
def test_two_sizes_are_refused_with_both(client, pair, tmp_path):
    Image.new("L", (24, 48)).save(tmp_path / "small.png")
    said = refusal(client, pair[0], tmp_path / "small.png")
    assert "ir.png is 64 x 48 and small.png is 24 x 48" in said


@needs_weights
def test_a_missing_picture_is_named(client, pair):
    assert "infrared image is missing" in refusal(client, None, pair[1])
    assert "visible image is missing" in refusal(client, pair[0], None)


@needs_weights
def test_the_same_file_twice_is_refused(client, pair):
    assert "Both images are the same file" in refusal(client, pair[0], pair[0])


@needs_weights
def test_a_file_that_is_no_picture_is_refused_without_a_path(server, client, pair, tmp_path):
    (tmp_path / "notes.png").write_bytes(b"\xfe\xed these are not pixels")
    said = refusal(client, tmp_path / "notes.png", pair[1])
    assert said.startswith("notes.png is not an image")
    assert str(server.uploads) not in said
    assert "Traceback" not in server.log.read_text()


@needs_weights
@pytest.mark.parametrize(
    ("kind", "said"), [("ico", "an icon"), ("pdf", "a PDF"), ("eps", "a PostScript document"), ("tga", "a Targa image")]
)
def test_formats_that_are_not_listed_are_not_decoded(client, pair, tmp_path, kind, said):
    Image.new("RGB", (64, 48)).save(tmp_path / f"picture.{kind}")
    (tmp_path / f"picture.{kind}").rename(tmp_path / "picture.png")
    assert f"picture.png is {said}" in refusal(client, tmp_path / "picture.png", pair[1])


@needs_weights
def test_a_decompression_bomb_is_refused_before_it_is_decoded(server, client, pair, tmp_path):
    fuse(client, *pair)
    zeros, rows = zlib.compressobj(1), bytes(12_001)
    real = b"".join(zeros.compress(rows) for _ in range(12_000)) + zeros.flush()
    (tmp_path / "bomb.png").write_bytes(png_claiming(12_000, 12_000, real))
    (tmp_path / "claim.png").write_bytes(png_claiming(60_000, 60_000))
    server.forget_peak()
    before = server.memory("VmRSS")
    assert "bomb.png is 12000 x 12000 pixels (144 megapixels)" in refusal(client, tmp_path / "bomb.png", pair[1])
    assert "claim.png has far too many pixels" in refusal(client, pair[0], tmp_path / "claim.png")
    assert server.memory("VmHWM") < before + 60


def test_a_file_that_is_too_large_is_not_taken(server):
    answer = httpx.post(f"{server.url}/gradio_api/upload", files={"files": ("large.png", bytes(4_000_000))})
    assert answer.status_code == 413
    assert "maximum allowed size" in answer.text
    assert not [path for path in files(server.uploads) if path.name == "large.png"]


@needs_weights
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"output_range": "loud"}, "There is no output range 'loud'"),
        ({"output_range": 5}, "There is no output range '5'"),
        ({"model": 5}, "The model must be a name, but 5 was given"),
        ({"revision": ["v1"]}, "The revision must be a name, but ['v1'] was given"),
        ({"anchor": "chain"}, "There is no anchor 'chain'"),
        ({"chroma": "c"}, "There is no colour rule 'c'"),
        ({"input_range": "wide"}, "There is no input range 'wide'"),
        ({"borders": "mend"}, "There is no rule for borders 'mend'"),
        ({"model": "./refusion"}, "There is no model './refusion' here"),
        ({"model": "/etc"}, "There is no model '/etc' here"),
        ({"model": "../hub_configs"}, "There is no model '../hub_configs' here"),
        ({"revision": "v1"}, "refusion-ir-vis is on this machine and has no revisions"),
    ],
)
def test_settings_that_do_not_exist_are_refused(client, pair, settings, sentence):
    assert sentence in refusal(client, *pair, **settings)
