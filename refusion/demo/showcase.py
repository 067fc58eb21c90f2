"""Finished examples: fused once, and shown to every visitor."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from refusion.demo.events import heading
from refusion.demo.examples import Example, all_examples
from refusion.demo.results import SHOWN, ResultFiles, comparison
from refusion.demo.service import Fusing
from refusion.tasks import get_task


@dataclass(frozen=True)
class Finished:
    """An example and its fused image.

    Attributes:
        paths: the sources, copied to the folder for uploads.
        fused: file of the fused image.
        viewer: the viewer as HTML.
        size: width and height in pixels.
    """

    paths: tuple[Path, ...]
    fused: Path
    viewer: str
    size: tuple[int, int]


class Showcase:
    """Fuses each example once, with the defaults of its task."""

    def __init__(self, fusing: Fusing) -> None:
        self.files = ResultFiles()
        self._fusing = fusing
        self._lock = threading.Lock()
        self._finished: dict[str, tuple[Finished, list[Path], Example]] = {}

    def paths(self, example: Example) -> tuple[Path, ...]:
        """The sources of an example, copied to the folder for uploads."""
        folder = str(get_upload_folder())
        copies = tuple(Path(save_file_to_cache(path, folder)) for path in example.paths)
        self.files.written.update(map(str, copies))
        return copies

    def example_of(self, paths: tuple[Path, ...]) -> Example | None:
        """The shown example that these uploads belong to, or None."""
        return next((known[2] for known in list(self._finished.values()) if known[0].paths == paths), None)

    def prepare(self) -> None:
        """Fuse the first example of each tab before the first visit.

        Raises:
            ModelError: a model cannot be loaded.
        """
        seen = set()
        for example in all_examples():
            if example.tab not in seen and self._fusing.models.ready(get_task(example.task)):
                seen.add(example.tab)
                self.finished(example)

    def finished(self, example: Example) -> Finished:
        """An example with its result; it is fused on the first call, which takes less than a second.

        Raises:
            ModelError: the model cannot be loaded.
        """
        with self._lock:
            paths = self.paths(example)
            known = self._finished.get(example.name)
            if known is not None and all(file.is_file() for file in known[1]):
                for file in known[1]:
                    os.utime(file)  # Gradio removes old files.
                return known[0]
            before = set(self.files.written)
            task = get_task(example.task)
            fused = self._fusing.fuse_on_cpu(paths, task)
            saved = self.files.save_fused(fused, f"{example.name}_fused.png")
            names = [heading(label) for label in task.labels] if len(paths) == 2 else [path.name for path in paths]
            labelled = [(name, self._fusing.uploads.read(path)) for name, path in zip(names, paths, strict=True)]
            viewer = comparison(f"compare-{example.tab}", labelled[:SHOWN], fused, saved, self.files)
            finished = Finished(paths, saved, viewer, fused.size)
            written = [Path(name) for name in set(self.files.written) - before]
            self._finished[example.name] = (finished, written, example)
            return finished
