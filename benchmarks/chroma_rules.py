"""The chroma rules side by side on one pair, as in docs/inputs.md.

python benchmarks/chroma_rules.py --out docs/images/chroma_rules.png
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import refusion
from refusion.images import save_image

EXAMPLES = Path(__file__).parents[1] / "space" / "examples"
RULES = ("a", "b", "release", "saturation", "exposure")


def main() -> None:
    """Write the image."""
    parser = argparse.ArgumentParser(description="Show the chroma rules.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", choices=["multi-focus", "multi-exposure"], default="multi-exposure")
    args = parser.parse_args()
    folders = {"multi-focus": ("near", "far"), "multi-exposure": ("under", "over")}[args.task]
    pair = [EXAMPLES / f"{args.task}_{folder}.png" for folder in folders]
    cells = []
    for rule in RULES:
        fused = refusion.fuse(pair, task=args.task, chroma=rule).to_image().convert("RGB").resize((240, 180))
        ImageDraw.Draw(fused).text((6, 4), rule, fill="white", stroke_width=2, stroke_fill="black", font_size=18)
        cells.append(np.asarray(fused))
    save_image(Image.fromarray(np.hstack(cells)), args.out)


if __name__ == "__main__":
    main()
