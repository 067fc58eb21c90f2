"""Stacks and batches in the demo, in a real browser."""

import re
import shlex
import shutil
import zipfile

import pytest
from PIL import Image, ImageOps
from support.command import refusion
from support.scenes import EXAMPLES, textured
from support.visitor import (
    LONG,
    NEEDS,
    WIDE,
    assert_same,
    downloaded,
    files_of,
    names_in,
    panel_of,
    press_example,
    wait_for_status,
    widths,
)

from refusion.demo.examples import example_pairs
from refusion.images import read_picture
from refusion.metrics.scoring import levels
from refusion.metrics.stack import score_stack
from refusion.models.model import ReFusion
from refusion.tasks import TASKS

pytestmark = NEEDS


@widths
def test_a_stack_has_thumbnails_in_an_order_and_a_result(visit, size):
    page = visit(size)
    panel = panel_of(page, "Stack")
    wait_for_status(panel, "Result of 3 images, multi-exposure_under.png first.")
    assert panel.locator(".choices").get_by_role("radio").count() == 3
    names = [f"multi-exposure_{name}.png" for name in ("under", "middle", "over")]
    panel.locator(".thumbnails img").nth(2).wait_for()
    assert names_in(panel) == names
    panel.get_by_role("button", name=f"Move {names[0]} forward").click()
    wait_for_status(panel, "This result is from before your last change. Press Fuse the stack to bring it up to date.")
    panel.locator(".thumbnails li").first.get_by_text(names[1]).wait_for()
    panel.locator(".thumbnails li").nth(2).drag_to(panel.locator(".thumbnails li").first)
    panel.locator(".thumbnails li").first.get_by_text(names[2]).wait_for()
    assert names_in(panel) == [names[2], names[1], names[0]]
    panel.get_by_role("button", name="Fuse the stack").click()
    wait_for_status(panel, "Result of 3 images, multi-exposure_over.png first.")
    panel.get_by_role("tab", name="Scores").click()
    row = panel.get_by_role("row", name=re.compile("^SSIM"))
    row.wait_for(timeout=LONG)
    if size is WIDE:
        paths = [EXAMPLES / name for name in names]
        fused = ReFusion.from_pretrained("refusion-multi-exposure").fuse_stack(paths[::-1])
        frames = [levels(read_picture(path).luminance) for path in paths]
        wanted = score_stack(frames, levels(read_picture(fused.to_image()).luminance))["SSIM"]
        assert f"{wanted:.3f}" in row.inner_text()


def test_there_is_an_example_of_either_kind_of_stack(visit):
    panel = panel_of(visit(), "Stack")
    wait_for_status(panel, "Result of 3 images, multi-exposure_under.png first.")
    press_example(panel, "A table, focused near to far")
    wait_for_status(panel, "Result of 4 images, focus-stack_1.png first.")
    assert panel.get_by_role("radio", name="Multi-focus", exact=True).is_checked()
    panel.locator(".thumbnails img").nth(3).wait_for()
    assert names_in(panel) == [f"focus-stack_{number}.png" for number in range(1, 5)]
    press_example(panel, "A room in three exposures")
    wait_for_status(panel, "Result of 3 images, multi-exposure_under.png first.")
    assert panel.get_by_role("radio", name="Multi-exposure", exact=True).is_checked()


def test_the_note_of_a_stack_is_about_what_is_in_it(visit, small_pair):
    panel = panel_of(visit(), "Stack")
    wait_for_status(panel, "Result of 3 images")
    files_of(panel, "All images").set_input_files(small_pair)  # In place of the example.
    panel.get_by_role("alert").get_by_text("A stack has at least three images").wait_for()
    assert names_in(panel) == [path.name for path in small_pair]
    press_example(panel, "A room in three exposures")
    wait_for_status(panel, "Result of 3 images")
    panel.get_by_role("button", name="Remove multi-exposure_middle.png").click()
    panel.get_by_role("alert").get_by_text("A stack has at least three images").wait_for()
    assert names_in(panel) == ["multi-exposure_under.png", "multi-exposure_over.png"]
    panel.get_by_role("button", name="Clear").click()
    panel.get_by_role("alert").wait_for(state="hidden")


@widths
def test_a_batch_names_the_bad_shows_the_good_and_gives_one_archive(visit, size, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    page = visit(size)
    panel = panel_of(page, "Batch")
    lists = []
    for side, folder in enumerate(("ir", "vis")):
        (tmp_path / folder).mkdir()
        lists.append([tmp_path / folder / name for name in ("street.png", "torn.png", "yard.heic")])
        for index, path in enumerate(lists[-1]):
            image = Image.fromarray(textured(10 * side + index))
            if path.suffix == ".heic":
                tint = ImageOps.colorize(image, "black", "orange") if side == 0 else image.convert("RGB")
                heif.from_pillow(tint).save(path)
            else:
                image.save(path)
    lists[1][1].write_bytes(lists[1][1].read_bytes()[:300])
    lone = tmp_path / "ir/alone.png"
    Image.fromarray(textured(99)).save(lone)

    panel.get_by_role("button", name="Fuse all").click()
    wait_for_status(panel, "Nothing was fused")
    files_of(panel, "First of each pair").set_input_files([lone])
    wait_for_status(panel, "Nothing is fused yet.")
    files_of(panel, "Second of each pair").set_input_files(lists[1])
    panel.get_by_role("alert").get_by_text("alone.png: There is no visible image with this name").wait_for()
    panel.get_by_role("button", name="Clear").first.click()
    files_of(panel, "First of each pair").set_input_files(lists[0])
    panel.get_by_text("3 pairs.").wait_for()
    assert panel.get_by_role("alert").count() == 0
    panel.get_by_text("cannot be read", exact=True).wait_for()

    panel.get_by_role("button", name="Fuse all").click()
    panel.get_by_role("alert").get_by_text(re.compile("^torn: torn.png cannot be decoded")).wait_for(timeout=LONG)
    wait_for_status(panel, "2 fused, 1 not; the list says why.")
    wait_for_status(panel, "There is a remark on 1 of the pairs; see the list.")
    panel.get_by_role("row", name=re.compile("^yard fused. yard.heic .*colour")).wait_for()
    panel.get_by_role("row", name=re.compile("^torn torn.png cannot be decoded")).wait_for()
    panel.locator(".grid-wrap img").nth(1).wait_for()
    assert panel.locator(".grid-wrap img").count() == 2
    panel.get_by_role("button", name=re.compile("^street")).wait_for()
    path = downloaded(page, panel, "Download all as zip", tmp_path / "fused.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["street_fused.png", "yard_fused.png", "failed.txt"]
    assert panel.locator("pre code").inner_text().strip() == "refusion fuse ir vis -o fused --task ir-vis"
    panel.get_by_role("radio", name="Medical").check()
    wait_for_status(panel, "These results are from before your last change.")
    panel.get_by_role("group", name="First of each pair: CT, PET or SPECT").wait_for()


def test_the_command_below_a_stack_makes_it(visit, tmp_path, monkeypatch):
    page = visit()
    panel = panel_of(page, "Stack")
    wait_for_status(panel, "Result of 3 images, multi-exposure_under.png first.")
    path = downloaded(page, panel, "Download in full quality", tmp_path / "downloaded.png")
    program, *words = shlex.split(panel.locator("pre code").inner_text())
    assert program == "refusion"
    for example in EXAMPLES.glob("multi-exposure_*.png"):
        shutil.copy(example, tmp_path)
    monkeypatch.chdir(tmp_path)
    done = refusion(*words)
    assert done.code == 0, done.err
    with Image.open(tmp_path / "fused.png") as wanted:
        assert_same(path, wanted)


def test_the_commands_below_a_batch_make_it(visit, tmp_path, monkeypatch):
    page = visit()
    panel = panel_of(page, "Batch")
    panel.get_by_role("radio", name="Multi-focus").check()
    panel.get_by_role("button", name="Use example pairs").click()
    panel.get_by_text("5 pairs.").wait_for()
    panel.get_by_role("button", name="Settings").click()
    panel.get_by_role("combobox", name="Anchor to the sources").click()
    page.get_by_role("option", name="Keep between the sources").click()
    panel.get_by_role("button", name="Fuse all").click()
    wait_for_status(panel, "5 fused.")
    path = downloaded(page, panel, "Download all as zip", tmp_path / "fused.zip")
    first, *rows, end, command = panel.locator("pre code").inner_text().strip().splitlines()
    assert (first, end) == ("cat > pairs.csv <<'END'", "END")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    folders = [tmp_path / name for name in TASKS["multi-focus"].folders]
    for side, folder in enumerate(folders):
        folder.mkdir()
        for pair in example_pairs("multi-focus"):
            shutil.copy(pair.paths[side], folder)
    monkeypatch.chdir(tmp_path)
    done = refusion(*shlex.split(command)[1:])
    assert done.code == 0, done.err
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                assert member.read() == (tmp_path / "fused" / name.replace("_fused", "")).read_bytes(), name
