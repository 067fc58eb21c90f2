"""Two corrections to gradio's event stream, which tells a page how its events go (``GET /queue/data``).

- Gradio closes the stream when a page has no event left, and the page opens it again with its next event. An event that
  starts in between is lost: the page waits for it forever. Here the stream of a browser stays open. Programs wait for
  the end of theirs, so those are closed as before.
- The message about a cancelled event has no data, which the page takes for an error. It shows the error if the answer
  to its request to cancel comes first. Here the message has empty data.
"""

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CLOSES = b'data: {"msg":"close_stream"'
_COMPLETED, _EMPTY, _EMPTY_DATA = b'data: {"msg":"process_completed"', b'"output":{},', b'"output":{"data":[]},'


class EventStream:
    """ASGI middleware that keeps event streams of browsers open and completes messages about cancelled events."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; any but those for an event stream are passed on unchanged."""
        if scope["type"] != "http" or not scope["path"].endswith("/queue/data"):
            await self._app(scope, receive, send)
            return
        stays_open = any(name == b"sec-fetch-mode" for name, _ in scope["headers"])  # Only browsers send it.
        first, closed = True, True
        while first or (closed and stays_open):
            opened, first, closed = not first, False, False

            async def corrected(message: Message, opened: bool = opened) -> None:
                nonlocal closed
                body: Any = message.get("body", b"")
                if stays_open:
                    closed = closed or body.startswith(_CLOSES)
                    if (opened and message["type"] == "http.response.start") or closed:
                        return
                if body.startswith(_COMPLETED):
                    message = message | {"body": body.replace(_EMPTY, _EMPTY_DATA, 1)}
                await send(message)

            await self._app(dict(scope), receive, corrected)
