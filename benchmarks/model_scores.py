"""Score the shipped model of a task for its card: as used, and with less of what follows the network.

    python benchmarks/model_scores.py --task ir-vis --data VAL
    refusion card hub_configs/refusion-ir-vis

The rows of other methods in scores.json stay as they are.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from refusion.system.files import write_text
from refusion.tasks import TASKS, get_task

HUB = Path(__file__).parents[1] / "hub_configs"
WAYS = {
    "": [],
    ", `--output-range network`": ["--output-range", "network"],
    ", `--stretch`": ["--stretch"],
    ", `--anchor none --output-range network` (bare network)": ["--anchor", "none", "--output-range", "network"],
}


def evaluate(task: str, data: str, model: str, options: list[str]) -> dict:
    """What `refusion evaluate --json` writes for a model."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scores.json"
        words = [sys.executable, "-m", "refusion", "evaluate", "--task", task, "--data", data, "--model", model]
        subprocess.run([*words, "--json", str(out), *options], check=True, stdout=subprocess.DEVNULL)
        return json.loads(out.read_text())


def main() -> int:
    """Write the rows of the model into its scores.json and print VIF and Qabf of each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", required=True, choices=list(TASKS))
    parser.add_argument("--data", required=True)
    args = parser.parse_args()
    task = get_task(args.task)
    path = HUB / task.model / "scores.json"
    scores = json.loads(path.read_text())
    for suffix, options in WAYS.items():
        if f"{task.model}{suffix}" not in scores["models"]:
            continue
        (found,) = evaluate(args.task, args.data, task.model, options)["models"].values()
        scores["models"][f"{task.model}{suffix}"] = found
        print(f"{task.model}{suffix}: VIF {found['mean']['VIF']:.3f}, Qabf {found['mean']['Qabf']:.3f}", flush=True)
    write_text(path, json.dumps(scores, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
