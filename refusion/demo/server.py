"""Serving the demo."""

import errno
import signal
import socket
import tempfile
from pathlib import Path

import gradio as gr
from gradio.route_utils import delete_files_created_by_app
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from refusion.demo.compression import CompressedPage
from refusion.demo.disk import DiskLimit
from refusion.demo.options import DemoOptions
from refusion.demo.page import build_demo
from refusion.demo.stream import EventStream
from refusion.demo.theme import CSS, HEAD, THEME

_DEFAULTS = DemoOptions()


def check_address(host: str, port: int | None) -> None:
    """Check that the address can be listened on, because the server's own error would not say what is wrong.

    Raises:
        ValueError: the host is not an address of this machine, or the port is taken or privileged.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    ports = range(7860, 7960) if port is None else [port]
    for number in ports:
        try:
            with socket.create_server((host, number), family=family):
                return
        except OSError as error:
            cause = error.strerror or str(error)
            if error.errno != errno.EADDRINUSE:
                break
    given = "7860 to 7959" if port is None else str(port)
    raise ValueError(f"The demo cannot listen on {host}, port {given}: {cause}; choose others with --host, --port.")


def check_upload_folder() -> None:
    """Check that the folder for uploads is writable.

    Raises:
        ValueError: it is not.
    """
    folder = Path(get_upload_folder())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        cause = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise ValueError(
            f"The folder for uploads, {folder}, cannot be used: {cause}; set the environment variable "
            "GRADIO_TEMP_DIR to another folder."
        ) from error


def serve(
    host: str = "127.0.0.1",
    port: int | None = None,
    *,
    options: DemoOptions = _DEFAULTS,
    share: bool = False,
    mcp: bool = False,
    wait: bool = True,
) -> gr.Blocks:
    """Build the demo and serve it. It connects to other servers only for `share` or a model that a visitor names.

    Args:
        host: address to listen on.
        port: port to listen on; the first free one from 7860 if not given.
        options: limits, models and device.
        share: also open a public address through gradio.live.
        mcp: also offer the endpoints as tools of the Model Context Protocol, below ``/gradio_api/mcp/``.
        wait: return only when the demo is stopped by Ctrl-C or SIGTERM; otherwise return at once, and ``close()`` of
            the result stops it.

    Raises:
        OSError: the host or port cannot be listened on.
        ModelError: a model named in the options cannot be loaded.
        ValueError: `mcp` is set, but gradio's extra is not installed.
    """
    if mcp:
        _check_mcp()
    demo = build_demo(options)
    demo.launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        theme=THEME,
        css=CSS,
        head=HEAD,
        ssr_mode=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=["api", "settings"],
        mcp_server=mcp,
        max_threads=40 + options.queue_size,
        max_file_size=options.max_file_mb * 1_000_000,
        app_kwargs={"middleware": [Middleware(EventStream), Middleware(DiskLimit), Middleware(CompressedPage)]},
    )
    if wait:
        # SIGTERM from a service manager must end it like Ctrl-C, so that uploads are removed.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        demo.block_thread()
        # Gradio gives its server five seconds to end, and removes uploads only if that was enough.
        delete_files_created_by_app(demo, age=None)
    return demo


def _check_mcp() -> None:
    try:
        import mcp  # noqa: F401
    except ImportError as error:
        raise ValueError('--mcp needs an extra of gradio; install it with pip install "gradio[mcp]".') from error
