"""Metrics that gather batches, in one process and in several."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from refusion.metrics import REFUSION, VIFB
from refusion.metrics.fusion import DEFAULT_METRICS, METRIC_SETS, METRICS
from refusion.metrics.running import CHEAP, DIFFERENTIABLE, RunningMetric, RunningMetrics


def batch(seed: int, count: int = 2) -> list[torch.Tensor]:
    """Sources and fused images of 0 to 1, (count, 1, 48, 64)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2 * count, 1, 6, 8, generator=generator)
    a, b = torch.nn.functional.interpolate(coarse, (48, 64), mode="bilinear").chunk(2)
    return [a, b, 0.4 * a + 0.6 * b]


@pytest.mark.parametrize("name", ["SSIM", "EN", "RMSE"])
def test_the_mean_is_that_over_all_images(name):
    metric = RunningMetric(name, data_range=1)
    assert metric.compute().isnan()
    batches = [batch(1), batch(2, 3)]
    for images in batches:
        metric.update(*images)
    whole = [torch.cat(images) for images in zip(*batches, strict=True)]
    function = METRICS[name].function
    expected = function(*(whole if METRICS[name].needs_sources else whole[2:]), data_range=1).mean()
    torch.testing.assert_close(metric.compute(), expected)
    assert metric.higher_is_better == (name != "RMSE")
    metric.reset()
    metric.update(*batches[1])
    torch.testing.assert_close(metric.compute(), metric(*batches[1]))


def test_equal_images_of_a_batch_do_not_make_the_mean_infinite():
    a, b, fused = batch(1)
    a[0], b[0] = fused[0], fused[0]
    metric = RunningMetric("PSNR", data_range=1)
    metric.update(a, b, fused)
    assert metric.compute().isfinite()


def test_several_at_once():
    metrics = RunningMetrics(("SD", "SSIM"), data_range=1)
    first = metrics(*batch(1))
    assert metrics.update(*batch(2)) is None
    second = RunningMetrics(("SD", "SSIM"), data_range=1)(*batch(2))
    assert list(metrics.compute()) == ["SD", "SSIM"]
    for name, mean in metrics.compute().items():
        torch.testing.assert_close(mean, (first[name] + second[name]) / 2)
    metrics.reset()
    assert all(mean.isnan() for mean in metrics.compute().values())
    assert set(RunningMetrics().compute()) == set(CHEAP)


def test_names_are_those_that_score_takes():
    for names, expected in {
        "SSIM": ["SSIM"],
        "ssim": ["SSIM"],
        ("sf", "Qabf", "SF"): ["SF", "Qabf"],
        "default": list(DEFAULT_METRICS),
        "vifb": list(METRIC_SETS["vifb"]),
        ("SD", "ALL"): ["SD", *(name for name in METRICS if name != "SD")],
    }.items():
        assert list(RunningMetrics(names).compute()) == expected
    assert RunningMetric("ssim").metric is METRICS["SSIM"]
    for refused in ("LPIPS", ("LPIPS",)):
        with pytest.raises(ValueError, match=r"no metric 'LPIPS'; choose EN.* sets default, vifb, mefb, all"):
            RunningMetrics(refused)
    with pytest.raises(ValueError, match="no metric 'LPIPS'; choose EN"):
        RunningMetric("LPIPS")
    with pytest.raises(ValueError, match="'default' is a set of 10 metrics; give one metric, or use RunningMetrics"):
        RunningMetric("default")


def test_gradients_flow_where_nothing_is_rounded():
    a, b, fused = batch(1)
    fused = fused + torch.rand_like(fused) / 50
    for name in ("SSIM", "SF"):
        assert name in DIFFERENTIABLE
        learned = fused.clone().requires_grad_()
        value = RunningMetric(name, replace(REFUSION, rounding="none"), 1)(a, b, learned)
        value.backward()
        assert learned.grad.abs().sum() > 0
        assert not RunningMetric(name, data_range=1)(a, b, learned).requires_grad


@pytest.mark.parametrize("base", [REFUSION, VIFB], ids=lambda base: base.name)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_those_of_finite_differences(name, base):
    exact = replace(base, name="exact", rounding="none")
    metric = METRICS[name]
    generator = torch.Generator().manual_seed(3)
    a, b, mixed = (0.1 + 0.8 * image.double() for image in batch(1, 1))
    a, b, start = (x + 0.05 * torch.rand(x.shape, generator=generator, dtype=x.dtype) for x in (a, b, mixed))
    step = 1e-6 * torch.randn(start.shape, generator=generator, dtype=start.dtype)

    def value(fused):
        return metric.function(*((a, b, fused) if metric.needs_sources else (fused,)), exact, data_range=1).sum()

    learned = start.clone().requires_grad_()
    value(learned).backward()
    change = (learned.grad * step).sum()
    assert change != 0
    torch.testing.assert_close(change, (value(start + step) - value(start - step)) / 2, rtol=0.02, atol=0)


@pytest.mark.parametrize(
    ("name", "base"),
    [(name, REFUSION) for name in DIFFERENTIABLE if name != "PSNR"]
    + [(name, VIFB) for name in DIFFERENTIABLE if name not in ("PSNR", "Qy", "Qc")],
)
def test_gradients_of_flat_images_are_finite(name, base):
    """PSNR itself is infinite there, and Qy and Qc of the toolkits divide rounding errors."""
    exact = replace(base, name="exact", rounding="none")
    a, b, fused = batch(1)
    for images in ((a, b, fused * 0), (a * 0, b * 0, fused), (a * 0, b * 0, fused * 0)):
        learned = images[2].clone().requires_grad_()
        RunningMetric(name, exact, 1)(*images[:2], learned).backward()
        assert learned.grad.isfinite().all()


def work(rank: int, folder: str) -> None:
    """One of two processes, with a batch of its own; writes the means that it computes."""
    distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    metrics = RunningMetrics(("SD", "SSIM"), data_range=1)
    metrics(*batch(rank, 1 + rank))
    means = {name: mean.item() for name, mean in metrics.compute().items()}
    Path(folder, f"{rank}.json").write_text(json.dumps(means))
    distributed.destroy_process_group()


def test_processes_compute_the_mean_over_all_of_them(tmp_path):
    multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    metrics = RunningMetrics(("SD", "SSIM"), data_range=1)
    for rank in range(2):
        metrics(*batch(rank, 1 + rank))
    expected = {name: mean.item() for name, mean in metrics.compute().items()}
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == pytest.approx(expected)
