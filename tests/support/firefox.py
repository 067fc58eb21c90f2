"""Firefox without a window, driven over its Marionette protocol, which needs no other package."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")

_PREFERENCES: dict[str, Any] = {
    "marionette.port": 0,
    "browser.download.folderList": 2,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}


class Firefox:
    """A browser with a new profile in a folder; downloads go to its sub-folder ``downloads``."""

    def __init__(self, folder: Path, seconds: float = 120):
        self.downloads = folder / "downloads"
        self._number = 0
        profile = folder / "profile"
        profile.mkdir()
        preferences = _PREFERENCES | {"browser.download.dir": str(self.downloads)}
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in preferences.items()]
        (profile / "user.js").write_text("\n".join(lines))
        command = [FIREFOX, "--headless", "--marionette", "--no-remote", "--profile", profile]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = profile / "MarionetteActivePort"
            _wait(lambda: port.is_file() and port.read_text().strip(), seconds)
            self._socket = socket.create_connection(("127.0.0.1", int(port.read_text())), timeout=seconds)
            self._receive()
            self.ask("WebDriver:NewSession", capabilities={})
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def ask(self, command: str, **parameters: Any) -> Any:
        """Send a command and return its value."""
        self._number += 1
        message = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(message), message))
        _, _, error, result = self._receive()
        if error:
            raise RuntimeError(f"{command}: {error['error']}: {error['message']}")
        return result.get("value") if isinstance(result, dict) else result

    def open(self, url: str) -> None:
        """Go to a page."""
        self.ask("WebDriver:Navigate", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function in the page."""
        return self.ask("WebDriver:ExecuteScript", script=script, args=arguments, sandbox=None)

    def wait(self, script: str, *arguments: Any, seconds: float = 240) -> Any:
        """Wait until the body of a function returns something."""
        return _wait(lambda: self.run(script, *arguments), seconds)

    def give(self, selector: str, path: Path) -> None:
        """Choose a file in an input."""
        found = self.ask("WebDriver:FindElement", using="css selector", value=selector)
        self.ask("WebDriver:ElementSendKeys", id=next(iter(found.values())), text=str(path))

    def downloaded(self, name: str, seconds: float = 60) -> Path:
        """Wait until a file is downloaded."""
        path = self.downloads / name
        # Until it is complete, the file is empty and has another beside it.
        _wait(lambda: path.is_file() and path.stat().st_size and not list(self.downloads.glob("*.part")), seconds)
        return path

    def close(self) -> None:
        """End the browser."""
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self) -> Any:
        length = b""
        while (sign := self._socket.recv(1)) not in (b":", b""):
            length += sign
        message = b""
        while len(message) < int(length) and (part := self._socket.recv(int(length) - len(message))):
            message += part
        return json.loads(message)


def _wait(condition: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise TimeoutError(f"nothing came within {seconds} s")
