"""Compression of the page, which gradio sends as it is: 0.6 MB, before which a visitor sees nothing."""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send


class CompressedPage:
    """ASGI middleware that compresses the page; images are compressed already, and events must not wait."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._compressed = app, GZipMiddleware(app, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; all but those for the page are passed on unchanged."""
        page = scope["type"] == "http" and scope["path"] == "/"
        await (self._compressed if page else self._app)(scope, receive, send)
