"""The event stream of the demo's server, as a browser and a program read it."""

import contextlib
import json
import queue
import threading

import httpx
import pytest
from PIL import Image
from support.demo_server import Server
from support.scenes import textured

from refusion.hub.names import has_weights

pytestmark = pytest.mark.skipif(
    not has_weights("refusion-ir-vis"), reason="the weights refusion-ir-vis are not bundled"
)

BROWSER = {"Sec-Fetch-Mode": "cors"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"), "--max-megapixels", "4")
    yield server
    server.stop()


class Page:
    """A session: the events that it starts, and the messages in its stream, which it opens with the first event."""

    def __init__(self, url: str, session: str, headers: dict[str, str]) -> None:
        self._api, self._session, self._headers = url + "/gradio_api", session, headers
        self._messages: queue.Queue[dict] = queue.Queue()
        events = httpx.get(url + "/config").json()["dependencies"]
        self._fn = next(event["id"] for event in events if event["api_name"] == "fuse_ir_vis")

    def upload(self, path) -> dict:
        with path.open("rb") as file:
            (stored,) = httpx.post(self._api + "/upload", files={"files": file}, timeout=60).json()
        return {"path": stored, "meta": {"_type": "gradio.FileData"}}

    def start(self, *images) -> str:
        body = {"data": [*images, *[None] * 7], "fn_index": self._fn, "session_hash": self._session}
        answer = httpx.post(self._api + "/queue/join", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()["event_id"]

    def cancel(self, event: str) -> None:
        body = {"event_id": event, "fn_index": self._fn, "session_hash": self._session}
        httpx.post(self._api + "/cancel", json=body, timeout=60).raise_for_status()

    def listen(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        asked = {"params": {"session_hash": self._session}, "headers": self._headers, "timeout": 120}
        with (
            contextlib.suppress(httpx.RemoteProtocolError),  # The server stops.
            httpx.stream("GET", self._api + "/queue/data", **asked) as stream,
        ):
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    self._messages.put(json.loads(line[6:]))
        self._messages.put({"msg": "end"})

    def next(self, *kinds: str) -> dict:
        """The next message of these kinds; heartbeats come all the time, so give every kind that can be the last."""
        while (message := self._messages.get(timeout=120))["msg"] not in kinds:
            pass
        return message


def test_the_stream_of_a_browser_carries_later_events_too(server):
    page = Page(server.url, "browser", BROWSER)
    event = page.start(None, None)
    page.listen()
    for _ in range(2):
        done = page.next("process_completed", "close_stream", "end")
        assert (done["msg"], done["event_id"]) == ("process_completed", event)
        event = page.start(None, None)


@pytest.mark.slow
def test_the_stream_of_a_browser_is_closed_after_a_while_and_can_be_opened_again(server):
    page = Page(server.url, "stays", BROWSER)
    event = page.start(None, None)
    page.listen()
    assert page.next("process_completed", "close_stream", "end")["event_id"] == event
    assert [page.next("process_completed", "close_stream", "end")["msg"] for _ in range(2)] == ["close_stream", "end"]
    event = page.start(None, None)
    page.listen()
    assert page.next("process_completed", "close_stream", "end")["event_id"] == event


def test_the_stream_of_a_program_is_closed_after_its_last_event(server):
    page = Page(server.url, "program", {})
    page.start(None, None)
    page.listen()
    said = [page.next("process_completed", "close_stream", "end")["msg"] for _ in range(3)]
    assert said == ["process_completed", "close_stream", "end"]


@pytest.mark.parametrize("headers", [BROWSER, {}], ids=["browser", "program"])
def test_a_cancelled_event_ends_with_data(server, tmp_path, headers):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for seed, path in enumerate(paths):
        Image.fromarray(textured(seed, 1600, 2400)).save(path)
    page = Page(server.url, f"cancels-{len(headers)}", headers)
    event = page.start(*map(page.upload, paths))
    page.listen()
    assert page.next("process_starts", "process_completed", "end")["msg"] == "process_starts"
    page.cancel(event)
    done = page.next("process_completed", "end")
    assert (done["event_id"], done["output"]) == (event, {"data": []})
