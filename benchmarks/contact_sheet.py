"""Contact sheet of the examples: sources, bare network, finished image, and the learned weights over it.

python benchmarks/contact_sheet.py --out docs/images/contact_sheet.jpg
"""

import argparse
import io
import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from refusion import fuse
from refusion.explanation import explain
from refusion.explanation.pictures import overlay
from refusion.system.files import write_bytes

EXAMPLES = Path(__file__).parents[1] / "space" / "examples"
TILE = (200, 150)
CAPTION, MARGIN = 18, 6


def row(example: dict) -> dict[str, Image.Image]:
    """The images of one pair by their captions."""
    a, b = (EXAMPLES / name for name in example["files"])
    task = example["task"]
    explanation = explain(f"refusion-{task}", a, b)
    return {
        example["title"]: Image.open(a),
        "second source": Image.open(b),
        "bare network": fuse(a, b, task=task, anchor="none", output_range="network").to_image(),
        "finished": fuse(a, b, task=task).to_image(),
        "w, brightness: orange: first": overlay(explanation.fused, explanation.intensity[0]),
        "v, edges: orange: first": overlay(explanation.fused, explanation.gradient[0]),
    }


def sheet(rows: list[dict[str, Image.Image]]) -> Image.Image:
    """All rows below each other."""
    width, height = TILE[0] + MARGIN, TILE[1] + CAPTION + MARGIN
    whole = Image.new("RGB", (len(rows[0]) * width + MARGIN, len(rows) * height + MARGIN), "white")
    draw = ImageDraw.Draw(whole)
    for i, images in enumerate(rows):
        for j, (caption, image) in enumerate(images.items()):
            left, top = MARGIN + j * width, MARGIN + i * height
            draw.text((left, top), caption, "black")
            tile = ImageOps.contain(image.convert("RGB"), TILE, Image.Resampling.LANCZOS)
            whole.paste(tile, (left, top + CAPTION))
    return whole


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    examples = json.loads((EXAMPLES / "examples.json").read_text(encoding="utf-8"))
    pairs = [example for example in examples if len(example["files"]) == 2]
    content = io.BytesIO()
    sheet([row(example) for example in pairs]).save(content, "JPEG", quality=80, optimize=True)
    write_bytes(out, content.getvalue())


if __name__ == "__main__":
    main()
