"""The ablation of the paper: train each variant with the same budget and seed, and print one table of their scores.

    python benchmarks/ablation.py --data TRAIN --val VAL --out runs/ablation --markdown ablation.md --json ablation.json

Every variant is the preset with a few flags changed, in a run folder of its own under --out. A finished variant is not
trained again, so the same command resumes after an interruption, and scores other pairs with another --val.
--flags='...' changes all variants, for example the outer learning rate.

--proposal MODEL adds a variant: the loss proposal module of that model, frozen, with new fusion and reconstruction
modules. It shows the quality of a fully learned loss at the budget of the other variants.
"""

import argparse
import json
import math
import platform
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from refusion.hub.folder import (
    PROPOSAL_WEIGHTS,
    RECONSTRUCTION_WEIGHTS,
    load_weights,
    read_config,
    save_model,
    save_weights,
)
from refusion.hub.names import local_folder, locate
from refusion.metrics.defects import DEFECTS
from refusion.metrics.fusion import score
from refusion.models.model import ReFusion
from refusion.modules.loss_proposal import LossProposalModule
from refusion.modules.reconstruction import ReconstructionModule
from refusion.pairs.dataset import Pairs, load_pairs, read_row
from refusion.system.files import write_text
from refusion.tasks import TASKS, get_task
from refusion.training.command import main as train
from refusion.training.crops import exchange
from refusion.training.fixed_losses import FIXED_LOSSES
from refusion.training.flags import make_parser, settings_from
from refusion.training.preview import PREVIEW_SIDE, middle
from refusion.training.run_folder import CHECKPOINT, load_checkpoint
from refusion.training.settings import DEFAULT_PRESET, PRESETS, TrainingSettings
from refusion.training.updates import loss_weights

VARIANTS: dict[str, str] = {
    "learned": "",
    "starting-gains": "--meta-after 1",
    "magnitude-gradient": "--no-signed-gradient",
    "no-starting-gains": "--intensity-brightness 0 --intensity-contrast 0 --gradient-contrast 0",
    "average": "--loss average",
    "max-gradient": "--loss max-gradient",
    "max-intensity": "--loss max-intensity",
    "max-both": "--loss max-both",
    "no-gradient-term": "--alpha-first 0 --alpha-last 0",
    "no-inner-reconstruction": "--no-inner-reconstruction",
    "no-noise": "--noise 0",
    "no-equivariance": "--no-equivariant",
    "no-balance": "--balance 0",
    "parameter-space": "--inner-image-until 0",
    "direct": "--loss direct",
}
AUGMENTATIONS = ("zoom", "tone", "gain", "sensor-noise", "blur", "jpeg", "invert")
"""Flags of the augmentation of the crops."""

WITHOUT: dict[str, str] = {
    **{f"no-{flag}": f"--{flag} 0" for flag in AUGMENTATIONS},
    "no-augmentation": " ".join(f"--{flag} 0" for flag in AUGMENTATIONS),
}
"""Variants of a preset with augmentation, trained only if they are named."""

PROPOSAL = "frozen-proposal"
METRICS = ("EN", "SD", "SF", "MI", "CC", "SCD", "VIF", "Qabf", "SSIM")
UNSEEN = {"ir-vis": ("heat", "bright"), "multi-focus": ("sharp",)}
"""What metrics do not see, by task."""

RESULT = "result.json"


@dataclass(frozen=True)
class Asked:
    """Task, flags and budget of a variant; a stored result is used only if they are the same."""

    task: str
    flags: str
    steps: int
    seed: int
    crop: int


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Attributes:
        asked: task, flags and budget.
        scores: by name of the validation pair, then by metric.
        w_mean: mean over pixels of the first source's intensity weight, in [0, 1].
        w_spread: its standard deviation.
        v_mean: mean of the first source's gradient weight, likewise.
        v_spread: its standard deviation.
        seconds: training time.
        threads: CPU threads of the training.
        device: where it was trained.
    """

    asked: Asked
    scores: dict[str, dict[str, float]]
    w_mean: float
    w_spread: float
    v_mean: float
    v_spread: float
    seconds: float
    threads: int
    device: str

    def means(self) -> dict[str, float]:
        """Means over the validation pairs, by metric; without those in which it has no meaning."""
        rows = list(self.scores.values())
        known = {n: [row[n] for row in rows if not math.isnan(row[n])] for n in metrics_of(self.asked.task)}
        return {name: statistics.fmean(values) if values else math.nan for name, values in known.items()}


def metrics_of(task: str) -> tuple[str, ...]:
    """Names of the metrics of a task."""
    return (*METRICS, *UNSEEN.get(task, ()))


def make_argument_parser() -> argparse.ArgumentParser:
    """The flags of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="ir-vis", choices=list(TASKS))
    parser.add_argument("--data", required=True, help="pairs to train on, as for train.py")
    parser.add_argument("--val", required=True, help="pairs to score")
    parser.add_argument("--out", required=True, type=Path, help="folder of the runs")
    parser.add_argument(
        "--variants",
        default=",".join(VARIANTS),
        help="names with commas between (default: all but those without an augmentation)",
    )
    parser.add_argument("--preset", default=DEFAULT_PRESET, choices=list(PRESETS), help=f"default: {DEFAULT_PRESET}")
    parser.add_argument("--proposal", help=f"model whose loss proposal module `{PROPOSAL}` keeps")
    parser.add_argument("--flags", default="", help="flags of train.py that every variant gets, before its own")
    parser.add_argument("--steps", type=int, default=400, help="fusion updates of each variant (default: 400)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--crop", type=int, default=64, help="side of the training crops in pixels (default: 64)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--pairs", type=int, help="score only so many of the validation pairs, the first ones")
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    parser.add_argument("--json", type=Path, help="also write the table and the scores of each pair to this file")
    return parser


def new_modules_with(proposal: Path, folder: Path, task: str, seed: int) -> Path:
    """Write a model folder with the loss proposal module of a model and new fusion and reconstruction modules."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    window = read_config(proposal).get("window")
    model = ReFusion(task=task, window=window)
    save_model(folder, model, model.config)
    save_weights(ReconstructionModule(window=window), folder / RECONSTRUCTION_WEIGHTS)
    module = LossProposalModule(window=window)
    load_weights(module, proposal / PROPOSAL_WEIGHTS)
    save_weights(module, folder / PROPOSAL_WEIGHTS)
    return folder


def flags_of(name: str, args: argparse.Namespace) -> str:
    """The flags of train.py that make a variant."""
    if name != PROPOSAL:
        return (VARIANTS | WITHOUT)[name]
    start = new_modules_with(local_folder(locate(args.proposal)), args.out / "start", args.task, args.seed)
    return f"--from {start} --hold-out 0 --meta-after 1"


def chosen_variants(names: str) -> list[str]:
    """The variants that were named, each once, in the order of the table.

    Raises:
        ValueError: a name is not known.
    """
    asked = [name.strip() for name in names.split(",")]
    known = VARIANTS | WITHOUT
    if unknown := [name for name in asked if name not in known]:
        raise ValueError(
            f"There is no variant {', '.join(map(repr, unknown))}; choose from {', '.join(known)}; "
            f"--proposal MODEL adds {PROPOSAL}."
        )
    return [name for name in known if name in asked]


def validation_pairs(args: argparse.Namespace) -> Pairs:
    """The pairs to score.

    Raises:
        DataError: they cannot be used.
        ValueError: fewer than one was asked for.
    """
    pairs = load_pairs(args.val, get_task(args.task))
    if args.pairs is None:
        return pairs
    if args.pairs < 1:
        raise ValueError(f"--pairs is {args.pairs}; it must be at least 1.")
    return replace(pairs, dataset=pairs.dataset.select(range(min(args.pairs, len(pairs.dataset)))))


def earlier_result(folder: Path, asked: Asked) -> Result | None:
    """What an earlier call of the benchmark left, or None.

    Raises:
        ValueError: it was made with another task, budget, seed or other flags.
    """
    path = folder / RESULT
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    earlier, now = found.pop("asked"), asdict(asked)
    if earlier != now:
        differing = ", ".join(f"{k} {earlier[k]!r}, now {now[k]!r}" for k in now if earlier[k] != now[k])
        raise ValueError(
            f"--out holds {folder.name} with other settings ({differing}); give the same ones, or another --out."
        )
    return Result(asked, **found)


def train_arguments(args: argparse.Namespace, folder: Path, asked: Asked) -> list[str]:
    """The command line of train.py for one variant."""
    flags = [
        "--task",
        asked.task,
        "--data",
        args.data,
        "--out",
        str(folder),
        "--preset",
        args.preset,
        *asked.flags.split(),
    ]
    numbers = {"steps": asked.steps, "seed": asked.seed, "crop": asked.crop, "threads": args.threads}
    return [*flags, *(word for name, number in numbers.items() for word in (f"--{name}", str(number)))]


def scores_of(folder: Path, pairs: Pairs, task: str) -> dict[str, dict[str, float]]:
    """Scores of what a run fuses, by name of the pair, then by metric."""
    model = ReFusion.from_pretrained(folder)
    scores = {}
    for row in pairs.dataset:
        a, b = read_row(row)
        fused = model.fuse(a, b, output_range="network", anchor="none").to_array(8).astype(np.float64)
        levels = (255 * a.astype(np.float64), 255 * b.astype(np.float64), fused)
        scores[row["name"]] = score(*levels, METRICS)
        scores[row["name"]] |= {name: DEFECTS[name].function(*levels) for name in UNSEEN.get(task, ())}
    return scores


@torch.no_grad()
def weights_of(folder: Path, settings: TrainingSettings, pairs: Pairs) -> dict[str, float]:
    """Mean and standard deviation over pixels of the first source's weights, named as in `Result`."""
    module = LossProposalModule(window=settings.window or None)
    if settings.loss not in FIXED_LOSSES:
        load_weights(module, folder / PROPOSAL_WEIGHTS)
    pixels: dict[str, list[torch.Tensor]] = {"w": [], "v": []}
    for row in pairs.dataset:
        a, b = (middle(x, PREVIEW_SIDE).unsqueeze(0) for x in read_row(row))
        weights = loss_weights(module, exchange(a, b), settings.loss, settings.equivariant)
        pixels["w"].append(weights.intensity[0, 0].flatten())
        pixels["v"].append(weights.gradient[0, 0].flatten())
    figures = {}
    for name, values in pixels.items():
        figures[f"{name}_mean"] = torch.cat(values).mean().item()
        figures[f"{name}_spread"] = torch.cat(values).std().item()
    return figures


def result_of(folder: Path, asked: Asked, settings: TrainingSettings, pairs: Pairs) -> Result:
    """Score a trained variant."""
    described = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    return Result(
        asked,
        scores_of(folder, pairs, asked.task),
        **weights_of(folder, settings, pairs),
        seconds=load_checkpoint(folder)["seconds"],
        threads=described["threads"],
        device=described["device"],
    )


def scored(result: Result, pairs: Pairs) -> bool:
    """Whether a result has the metrics of these pairs."""
    metrics = set(metrics_of(result.asked.task))
    names = list(pairs.dataset["name"])
    return list(result.scores) == names and all(metrics <= set(row) for row in result.scores.values())


def table(results: dict[str, Result]) -> str:
    """The table in Markdown, padded so that it reads well in a terminal too."""
    metrics = metrics_of(next(iter(results.values())).asked.task)
    head = ["variant", *metrics, "w", "v", "seconds"]
    rows = []
    for name, result in results.items():
        numbers = [f"{value:.3f}" for value in result.means().values()]
        w = f"{result.w_mean:.2f} ± {result.w_spread:.2f}"
        v = f"{result.v_mean:.2f} ± {result.v_spread:.2f}"
        rows.append([name, *numbers, w, v, f"{result.seconds:.0f}"])
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def caption(results: dict[str, Result]) -> str:
    """What the table was made with."""
    asked = next(iter(results.values())).asked
    pairs = len(next(iter(results.values())).scores)
    threads = ", ".join(sorted({str(result.threads) for result in results.values()}))
    devices = ", ".join(sorted({result.device for result in results.values()}))
    return (
        f"{asked.task}, {asked.steps} fusion updates on crops of {asked.crop}, seed {asked.seed}, "
        f"validation pairs: {pairs}; torch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}, {devices}, threads {threads}."
    )


def definitions(results: dict[str, Result]) -> str:
    """What the columns of the table are."""
    task = next(iter(results.values())).asked.task
    unseen = "".join(f"; {name}: {DEFECTS[name].definition}" for name in UNSEEN.get(task, ()))
    text = (
        "Means over the validation pairs: 8-bit luminance of the bare network output (no output range, no anchor); MI "
        f"in nats; MI, VIF and SSIM summed over both sources, CC their mean{unseen}. w and v: mean ± standard "
        f"deviation of the first source's weight over the pixels of the {PREVIEW_SIDE} x {PREVIEW_SIDE} middles of "
        "these pairs. Seconds: training alone, as measured, whatever else ran."
    )
    fixed = [name for name in results if name in FIXED_LOSSES]
    if not fixed:
        return text
    return (
        f"{text} A variant with fixed weights ({', '.join(fixed)}) makes the same fusion updates, but no outer ones, "
        "and so costs less time."
    )


def write_tables(args: argparse.Namespace, results: dict[str, Result]) -> None:
    """Write the files that were asked for."""
    if args.markdown:
        write_text(args.markdown, f"{caption(results)}\n\n{table(results)}\n\n{definitions(results)}\n")
    if args.json:
        variants = {name: {"mean": result.means(), **asdict(result)} for name, result in results.items()}
        made = {"caption": caption(results), "definitions": definitions(results), "variants": variants}
        write_text(args.json, json.dumps(made, indent=1) + "\n")


def run(args: argparse.Namespace) -> int:
    """Train and score what is not there yet, and print the table; returns the exit code, as train.py has it."""
    if args.threads < 1:
        raise ValueError(f"--threads is {args.threads}; it must be at least 1.")
    torch.set_num_threads(args.threads)
    names = chosen_variants(args.variants) + ([PROPOSAL] if args.proposal else [])
    pairs = validation_pairs(args)
    args.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Result] = {}
    for name in names:
        folder = args.out / name
        flags = f"{args.flags} {flags_of(name, args)}".strip()
        asked = Asked(args.task, flags, args.steps, args.seed, args.crop)
        result = earlier_result(folder, asked)
        arguments = train_arguments(args, folder, asked)
        if result is None:
            print(f"{name}: {asked.flags or 'the preset as it is'}", file=sys.stderr)
            code = train([*arguments, "--resume"] if (folder / CHECKPOINT).is_file() else arguments)
            if code == 130:
                raise KeyboardInterrupt
            if code:
                return code
        if result is None or not scored(result, pairs):
            result = result_of(folder, asked, settings_from(make_parser().parse_args(arguments)), pairs)
            write_text(folder / RESULT, json.dumps(asdict(result), indent=1) + "\n")
        results[name] = result
        write_tables(args, results)
    print(f"{table(results)}\n\n{caption(results)} {definitions(results)}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 bad input, 1 stopped by an error, 130 stopped by the user."""
    args = make_argument_parser().parse_args(argv)
    try:
        return run(args)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"A file cannot be read or written: {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; run the same command again to resume.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
