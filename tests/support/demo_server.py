"""`python app.py` in a process of its own, for the tests of the demo."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from support.scenes import ROOT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def visitors_files(folder: Path) -> list[Path]:
    """Everything below a folder for uploads but the examples, which the demo keeps there."""
    examples = {path.name for path in (ROOT / "space/examples").iterdir()}
    return [path for path in files(folder) if path.name not in examples]


class Server:
    """A demo with a temporary folder of its own; `stop` asserts that nothing is left in it."""

    def __init__(self, folder: Path, *flags: str, cwd: Path = ROOT, python: str = sys.executable, **environment: str):
        self.url = f"http://127.0.0.1:{free_port()}"
        self.uploads = folder / "uploads"
        self.log = folder / "log"
        self.uploads.mkdir()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python, "app.py", "--port", self.url.rpartition(":")[2], *flags],
                cwd=cwd,
                env=os.environ | {"GRADIO_TEMP_DIR": str(self.uploads)} | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        while not self.answers():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            return httpx.get(self.url).is_success
        except httpx.TransportError:
            return False

    def memory(self, kind: str) -> int:
        """Megabytes of VmRSS (now) or VmHWM (at most, since `forget_peak`)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{kind}:")[1].split()[0]) // 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def stop(self) -> None:
        try:
            self.process.terminate()
            assert self.process.wait(60) == 0, self.log.read_text()
            assert visitors_files(self.uploads) == []
        finally:
            self.process.kill()
            self.process.wait()
