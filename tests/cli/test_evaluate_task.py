"""Which task `refusion evaluate` scores for, and which split."""

import pytest
from PIL import Image
from support.bulk import write_splits
from support.command import refusion
from support.scenes import textured


def test_the_split_is_chosen(tmp_path):
    write_splits(tmp_path / "two", ("train", "test"))
    options = ["--split", "test", "--metrics", "EN", "--device", "cpu", "--csv", tmp_path / "scores.csv"]
    done = refusion("evaluate", "--data", tmp_path / "two", *options)
    assert done.code == 0, done.err
    assert "only test is used" in done.err
    assert ",of test," in (tmp_path / "scores.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "metric"),
    [
        (["--model", "refusion-medical"], "background"),
        (["--model", "refusion-medical", "--task", "ir-vis"], "heat"),
        (["--fused", "fused"], "heat"),
    ],
)
def test_the_task_is_that_of_the_model_or_of_the_data(pair_folder, tmp_path, arguments, metric):
    listed = tmp_path / "pairs.csv"
    lines = [f"{pair_folder}/ir/scene{i}.png,{pair_folder}/vis/scene{i}.png" for i in range(2)]
    listed.write_text("\n".join(["a,b", *lines]))
    data, arguments = listed, list(arguments)
    if "--fused" in arguments:
        data, arguments = pair_folder, ["--fused", pair_folder / "vis"]
    done = refusion("evaluate", "--data", data, *arguments, "--device", "cpu", "--csv", tmp_path / "scores.csv")
    assert done.code == 0, done.err
    assert metric in (tmp_path / "scores.csv").read_text().splitlines()[0].split(",")


def test_a_medical_folder_needs_no_task(tmp_path):
    for seed, name in enumerate(("functional", "mri")):
        (tmp_path / name).mkdir()
        Image.fromarray(textured(seed)).save(tmp_path / name / "scan.png")
    done = refusion("evaluate", "--data", tmp_path, "--fused", tmp_path / "mri", "--csv", tmp_path / "scores.csv")
    assert done.code == 0, done.err
    assert "background" in (tmp_path / "scores.csv").read_text().splitlines()[0].split(",")


def test_a_task_that_nothing_tells_is_said(pair_folder, tmp_path):
    listed = tmp_path / "pairs.csv"
    listed.write_text(f"a,b\n{pair_folder}/ir/scene0.png,{pair_folder}/vis/scene0.png\n")
    command = ["evaluate", "--data", listed, "--device", "cpu", "--metrics", "EN"]
    note = f"Note: {listed} is scored as pairs for ir-vis; --task names another task."
    assert note in refusion(*command).err
    assert note not in refusion(*command, "--task", "ir-vis").err
    for folder, other in (("near", "ir"), ("far", "vis")):
        (pair_folder / folder).symlink_to(pair_folder / other)
    of_two_tasks = ["evaluate", "--data", pair_folder, "--fused", pair_folder / "vis", "--metrics", "EN"]
    assert f"Note: {pair_folder} is scored as pairs for ir-vis; --task" in refusion(*of_two_tasks).err


def test_models_for_several_tasks_need_a_task(pair_folder):
    models = ["--model", "refusion-medical", "--model", "refusion-ir-vis"]
    done = refusion("evaluate", "--data", pair_folder, *models)
    assert done.code == 2
    assert done.err == "refusion: The models are for ir-vis and medical; say with --task which to score for."
