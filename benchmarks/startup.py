"""Wall time of short commands, compared with `import torch` alone.

    python benchmarks/startup.py --json startup.json

The commands take turns, each in a process of its own; the numbers are medians.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe, write_json

EXAMPLES = Path(__file__).parents[1] / "space" / "examples"


def main() -> None:
    """Print the seconds of each command, and write JSON if that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures and the machine there")
    args = parser.parse_args()
    machine = describe()
    with tempfile.TemporaryDirectory() as folder:
        pair = [str(EXAMPLES / name) for name in ("ir-vis_ir.png", "ir-vis_vis.png")]
        commands = {
            "import torch": ["-c", "import torch"],
            "import torch, refusion.ReFusion": ["-c", "import torch, refusion; refusion.ReFusion"],
            "refusion --help": ["-m", "refusion", "--help"],
            "refusion fuse": ["-m", "refusion", "fuse", *pair, "-o", f"{folder}/fused.png"],
            "refusion explain": ["-m", "refusion", "explain", *pair, "-o", f"{folder}/explained", "--quiet"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(machine)
    for name, value in medians.items():
        print(f"{name}: {value:.2f} s")
    write_json(args.json, machine, medians)


if __name__ == "__main__":
    main()
