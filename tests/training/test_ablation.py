"""What the training is compared with: fixed weights, a directly trained loss, and the benchmark that tabulates them."""

import json

import pytest
import torch
from PIL import Image
from support.modules import batch, modules, options, trainer
from support.scenes import ROOT, textured

from refusion.pairs.dataset import load_pairs
from refusion.tasks import get_task
from refusion.training.fixed_losses import FIXED_LOSSES, fixed_weights
from refusion.training.losses import proposed_fusion_loss
from refusion.training.run_folder import save_checkpoint
from refusion.training.settings import TrainingSettings
from refusion.training.trainer import MetaTrainer
from refusion.training.updates import direct_gradient, fusion_loss_and_reconstruction_loss, loss_weights, propose

BENCHMARKS = ROOT / "benchmarks"


def column_edge(at: int) -> torch.Tensor:
    """An image (1, 1, 4, 8), black with white columns from `at` on: a gradient at the two columns beside the edge."""
    return (torch.arange(8) >= at).float().expand(1, 1, 4, 8)


def test_average_is_a_half_everywhere():
    weights = fixed_weights("average", *torch.rand(2, 3, 1, 5, 6))
    assert all(torch.equal(w, torch.full((3, 2, 5, 6), 0.5)) for w in weights)


def test_max_intensity_trusts_the_brighter_source():
    a = torch.tensor([[0.2, 0.8], [0.5, 0.0]])[None, None]
    b = torch.tensor([[0.3, 0.1], [0.5, 1.0]])[None, None]
    for loss in ("max-intensity", "max-both"):
        w = fixed_weights(loss, a, b).intensity
        assert w[0].tolist() == [[[0.0, 1.0], [0.5, 0.0]], [[1.0, 0.0], [0.5, 1.0]]]
    assert torch.equal(fixed_weights("max-intensity", a, b).gradient, torch.full((1, 2, 2, 2), 0.5))


def test_max_gradient_trusts_the_source_with_the_edge():
    a, b = column_edge(2), 1 - column_edge(6)
    for loss in ("max-gradient", "max-both"):
        v = fixed_weights(loss, a, b).gradient
        assert v[0, 0].tolist() == [[0.5, 1.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.5]] * 4
        assert torch.equal(v.sum(dim=1), torch.ones(1, 4, 8))
    assert torch.equal(fixed_weights("max-gradient", a, b).intensity, torch.full((1, 2, 4, 8), 0.5))


@pytest.mark.parametrize("loss", FIXED_LOSSES)
def test_exchanging_the_sources_exchanges_the_weights(loss):
    a, b = (torch.rand(2, 2, 1, 6, 7) * 4).round() / 4  # few levels, so that there are ties
    for one, other in zip(fixed_weights(loss, a, b), fixed_weights(loss, b, a), strict=True):
        assert torch.equal(one, other.flip(1))


def test_an_unknown_loss_is_a_sentence():
    with pytest.raises(ValueError, match=r"no fixed loss 'learned'; choose average or"):
        fixed_weights("learned", *torch.rand(2, 1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"loss is 'mean'; choose learned or direct or average"):
        TrainingSettings(loss="mean")


def weights_by_module(t: MetaTrainer) -> dict[str, torch.Tensor]:
    parts = {name: getattr(t.modules, name) for name in ("fusion", "proposal", "reconstruction")}
    return {name: torch.cat([p.detach().flatten() for p in part.parameters()]) for name, part in parts.items()}


@pytest.mark.parametrize("image_space", [0.0, 1.0])
@pytest.mark.parametrize("loss", ["learned", "direct", *FIXED_LOSSES])
def test_each_loss_moves_the_modules_it_should(pair_folder, loss, image_space):
    t = trainer(pair_folder, rounds=2, loss=loss, inner_image_until=image_space, balance=1.0, equivariant=True)
    before = weights_by_module(t)
    (*_, last) = t.train()
    assert last.step == 2
    moved = {name for name, weights in weights_by_module(t).items() if not torch.equal(weights, before[name])}
    assert moved == {"fusion", "reconstruction"} | (set() if loss in FIXED_LOSSES else {"proposal"})
    updates = {"fusion", "reconstruction", {"learned": "outer"}.get(loss, loss)} - set(FIXED_LOSSES)
    assert {name for name in last.losses if not name.startswith(("w_", "v_"))} == updates


@pytest.mark.parametrize("loss", FIXED_LOSSES)
def test_a_fixed_loss_is_what_the_fusion_update_descends(loss):
    m, pair = modules(), batch(1)
    found, _ = fusion_loss_and_reconstruction_loss(m, pair, 0.5, options(loss=loss))
    expected = proposed_fusion_loss(m.fusion(*pair), *pair, fixed_weights(loss, *pair), 0.5)
    assert torch.equal(found, expected)
    assert torch.equal(loss_weights(m.proposal, pair, "learned", True)[0], propose(m.proposal, pair, True)[0])


@pytest.mark.parametrize("equivariant", [False, True])
def test_the_direct_gradient_lowers_the_fusion_loss_and_changes_nothing_itself(equivariant):
    m, pair, opts = modules(), batch(1), options(equivariant=equivariant)
    parts = [p for part in (m.fusion, m.proposal, m.reconstruction) for p in part.parameters()]
    before = [p.clone() for p in parts]
    result = direct_gradient(m, pair, 0.5, opts, balance=True)
    assert all(torch.equal(p, q) and p.grad is None for p, q in zip(parts, before, strict=True))
    assert result.balance.keys() == result.meta.keys()
    norm = torch.cat([g.flatten() for g in result.meta.values()]).norm()
    with torch.no_grad():
        for name, parameter in m.proposal.named_parameters():
            parameter -= 0.05 * result.meta[name] / norm
    after = direct_gradient(m, pair, 0.5, opts)
    assert after.loss < result.loss
    assert after.balance == {}


@pytest.mark.parametrize("rule", ["max", "adam"])
def test_the_direct_share_leads_from_the_outer_update_to_the_direct_one(pair_folder, rule):
    def proposal(**given):
        t = trainer(pair_folder, rounds=2, meta_rule=rule, meta_lr=0.01, inner_image_until=1.0, balance=0.5, **given)
        assert [progress.step for progress in t.train()][-1] == 2
        return weights_by_module(t)["proposal"]

    outer, half, whole = (proposal(direct_share=share) for share in (0.0, 0.5, 1.0))
    torch.testing.assert_close(whole, proposal(loss="direct"))
    assert not torch.allclose(half, outer, atol=1e-4)
    assert not torch.allclose(half, whole, atol=1e-4)
    with pytest.raises(ValueError, match="direct_share is 2; it is a share"):
        TrainingSettings(direct_share=2)


@pytest.fixture
def ablation(monkeypatch):
    """The benchmark, as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import ablation

    return ablation


@pytest.fixture
def command(tmp_path) -> list[str]:
    """Flags for two steps on two small pairs."""
    for index in range(2):
        for offset, folder in ((0, "ir"), (100, "vis")):
            (tmp_path / "small" / folder).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(textured(index + offset, 48, 48))
            picture.save(tmp_path / "small" / folder / f"scene{index}.png")
    pairs = str(tmp_path / "small")
    return ["--data", pairs, "--val", pairs, "--out", str(tmp_path / "runs"), "--steps", "2"]


@pytest.mark.parametrize(("preset", "table"), [("cpu-90min", "VARIANTS"), ("shipped", "WITHOUT")])
def test_every_variant_is_a_training_of_its_own(ablation, command, preset, table):
    args = ablation.make_argument_parser().parse_args([*command, "--preset", preset])
    variants = {"as it is": "", **getattr(ablation, table)}
    settings = {}
    for name, flags in variants.items():
        arguments = ablation.train_arguments(args, args.out / name, ablation.Asked("ir-vis", flags, 2, 0, 64))
        settings[name] = ablation.settings_from(ablation.make_parser().parse_args(arguments))
    settings.pop("learned", None)
    assert len({*settings.values()}) == len(settings)


def test_the_benchmark_tabulates_and_goes_on_without_training_again(ablation, command, tmp_path, capsys):
    runs, markdown, tables = tmp_path / "runs", tmp_path / "table.md", tmp_path / "table.json"
    outputs = ["--markdown", str(markdown), "--json", str(tables)]
    assert ablation.main([*command, "--variants", "max-both", "--pairs", "1"]) == 0
    trained = (runs / "max-both" / "checkpoint.pt").stat().st_mtime_ns
    assert ablation.main([*command, *outputs, "--variants", "max-both,learned"]) == 0
    assert (runs / "max-both" / "checkpoint.pt").stat().st_mtime_ns == trained

    written = json.loads(tables.read_text())
    assert list(written["variants"]) == ["learned", "max-both"]
    for row in written["variants"].values():
        assert set(row["mean"]) == set(ablation.metrics_of("ir-vis"))
        assert set(row["scores"]) == {"scene0", "scene1"}
        assert row["seconds"] > 0
        means = [row["scores"][name]["Qabf"] for name in row["scores"]]
        assert row["mean"]["Qabf"] == pytest.approx(sum(means) / 2)
    assert written["variants"]["learned"]["w_mean"] == pytest.approx(0.5, abs=0.1)
    assert written["variants"]["max-both"]["w_spread"] == pytest.approx(0.5, abs=0.05)
    printed = capsys.readouterr().out
    for text in (markdown.read_text(), printed):
        lines = [line for line in text.splitlines() if line.startswith(("| learned ", "| max-both "))]
        assert {line.count("|") for line in lines} == {len(ablation.metrics_of("ir-vis")) + 5}
        assert "; heat: contrast of hot objects" in text
        assert "sharp" not in text
        assert "fixed weights (max-both) makes" in text
    assert str(tmp_path) not in markdown.read_text() + printed

    assert ablation.main([*command, "--steps", "4", "--variants", "max-both"]) == 2
    assert "max-both with other settings (steps 2, now 4)" in capsys.readouterr().err


def test_an_interrupted_variant_is_gone_on_with(ablation, command, tmp_path):
    args = ablation.make_argument_parser().parse_args(command)
    run = args.out / "average"
    asked = ablation.Asked("ir-vis", ablation.VARIANTS["average"], 2, 0, 64)
    arguments = ablation.make_parser().parse_args(ablation.train_arguments(args, run, asked))
    pairs = load_pairs(args.data, get_task("ir-vis"))
    settings = ablation.settings_from(arguments)
    stopped = MetaTrainer(pairs, settings, steps=2)
    assert next(stopped.train()).step == 1
    run.mkdir(parents=True)
    save_checkpoint(run, stopped)
    assert ablation.main([*command, "--variants", "average", "--pairs", "1"]) == 0
    other = tmp_path / "uninterrupted"
    assert ablation.main([*command, "--variants", "average", "--pairs", "1", "--out", str(other)]) == 0
    assert (run / "model.safetensors").read_bytes() == (other / "average" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--variants", "averge"], "no variant 'averge'; choose from learned, starting-gains"),
        (["--pairs", "0"], "--pairs is 0"),
        (["--threads", "0"], "--threads is 0"),
        (["--steps", "0"], "--steps is 0"),
        (["--val", "./nowhere"], "no folder or file './nowhere'"),
    ],
)
def test_bad_flags_of_the_benchmark_are_sentences(ablation, command, capsys, extra, message):
    assert ablation.main([*command, *extra]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
