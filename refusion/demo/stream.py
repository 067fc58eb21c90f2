"""Two corrections to gradio's event stream, which tells a page how its events go (``GET /queue/data``).

- Gradio closes the stream once a page has no event left, and the page opens it again with its next event. An event that
  starts in between is lost: the page waits for it forever. One event often follows another, so here the stream of a
  browser is closed only after a while without events. Programs wait for the end of theirs, so those are closed at once.
- The message about a cancelled event has no data, which the page takes for an error. It shows the error if the answer
  to its request to cancel comes first. Here the message has empty data.
"""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEPT_OPEN = 10.0
"""Seconds that the stream of a browser stays open without events, and up to ten more, as often as gradio looks."""

_CLOSES, _HEARTBEAT = b'data: {"msg":"close_stream"', b'data: {"msg":"heartbeat"'
_COMPLETED, _EMPTY, _EMPTY_DATA = b'data: {"msg":"process_completed"', b'"output":{},', b'"output":{"data":[]},'


class EventStream:
    """ASGI middleware that keeps event streams of browsers open and completes messages about cancelled events."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; all but those for an event stream are passed on unchanged."""
        if scope["type"] != "http" or not scope["path"].endswith("/queue/data"):
            await self._app(scope, receive, send)
        elif any(name == b"sec-fetch-mode" for name, _ in scope["headers"]):  # Only browsers send it.
            await _KeptOpen(receive, send).run(self._app, scope)
        else:

            async def corrected(message: Message) -> None:
                await send(_with_data(message))

            await self._app(scope, receive, corrected)


class _KeptOpen:
    """One stream to a browser, made of one answer of gradio after the other."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._started = False
        self._close: Message | None = None  # Withheld since there is no event.
        self._idle_since = 0.0

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        again = True
        while again:
            again = False

            async def send(message: Message) -> None:
                nonlocal again
                if _body(message).startswith(_CLOSES):
                    again, self._close, self._idle_since = True, message, time.monotonic()
                elif not again:
                    await self._pass_on(message)

            await app(dict(scope), self._receive_or_end, send)

    async def _receive_or_end(self) -> Message:
        if self._close is not None and time.monotonic() - self._idle_since > KEPT_OPEN:
            return {"type": "http.disconnect"}  # Gradio ends its answer, as if the browser had left.
        return await self._receive()

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self._started:
                return
            self._started = True
        elif self._close is not None and not _body(message).startswith(_HEARTBEAT):
            if not message.get("more_body"):
                await self._send(self._close)
            self._close = None
        await self._send(_with_data(message))


def _body(message: Message) -> bytes:
    return message.get("body", b"")


def _with_data(message: Message) -> Message:
    body = _body(message)
    return {**message, "body": body.replace(_EMPTY, _EMPTY_DATA, 1)} if body.startswith(_COMPLETED) else message
