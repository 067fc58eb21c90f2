"""Refuse uploads before they fill the disk: gradio limits each file, but not how many there are."""

import shutil
from pathlib import Path

from gradio.utils import get_upload_folder
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEPT_FREE = 1 << 30
"""Bytes of the disk that uploads leave free."""


class DiskLimit:
    """ASGI middleware that refuses an upload, also while it arrives, once little disk is free."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; all but uploads are passed on unchanged."""
        if scope["type"] != "http" or not scope["path"].endswith("/upload"):
            await self._app(scope, receive, send)
            return
        folder = Path(get_upload_folder())
        folder.mkdir(parents=True, exist_ok=True)

        async def limited() -> Message:
            if shutil.disk_usage(folder).free < KEPT_FREE:
                # It is raised inside of the application, which answers with it.
                raise HTTPException(
                    507, "The disk of this demo is nearly full; uploads are removed after an hour, so try again later."
                )
            return await receive()

        await self._app(scope, limited, send)
