"""How much the scores of one fused image differ between conventions: a Markdown table of the metrics that differ.

python benchmarks/conventions.py A B FUSED
"""

import argparse
from dataclasses import replace

from PIL import Image

from refusion.metrics import METRICS, PRESETS, REFUSION, score
from refusion.system.markdown import table

CHANGES = {
    "mean over sources": replace(REFUSION, sources="mean"),
    "bits": replace(REFUSION, logarithm="bits"),
    "channels": replace(REFUSION, colour="channels"),
    "Gaussian SSIM": replace(REFUSION, ssim_window="gaussian-11"),
    "SSIM range 1": replace(REFUSION, ssim_range=1.0),
    "toolkit formulas": replace(REFUSION, formulas="toolkit"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs=3, help="first source, second source, fused image")
    a, b, fused = (Image.open(path) for path in parser.parse_args().images)
    columns = {"refusion": REFUSION, **CHANGES, "vifb": PRESETS["vifb"], "mefb": PRESETS["mefb"]}
    scores = {name: score(a, b, fused, METRICS, conventions) for name, conventions in columns.items()}
    rows = []
    for metric in METRICS:
        own, *others = (f"{row[metric]:.4g}" for row in scores.values())
        if any(other != own for other in others):
            rows.append([metric, own, *("" if other == own else other for other in others)])
    print(table(["metric", *columns], rows))


if __name__ == "__main__":
    main()
