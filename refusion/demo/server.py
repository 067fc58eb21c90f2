"""`python app.py`: the flags, and serving."""

import argparse
import errno
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from gradio.route_utils import delete_files_created_by_app
from gradio.utils import get_upload_folder

from refusion.demo.options import Decorator, DemoOptions
from refusion.demo.page import build_demo
from refusion.demo.theme import CSS, HEAD, THEME
from refusion.hub.errors import ModelError
from refusion.system.devices import choose_device

_DEFAULTS = DemoOptions()


def main(argv: list[str] | None = None, *, load_at_start: bool = False, on_device: Decorator | None = None) -> int:
    """Serve the demo until it is stopped.

    Args:
        argv: flags; those of the process if not given.
        load_at_start: see `DemoOptions`.
        on_device: see `DemoOptions`.

    Returns:
        The exit code: 0 done; 2 the address, the device or a model cannot be used.
    """
    args = make_parser().parse_args(argv)
    try:
        options = DemoOptions(
            queue_size=args.queue_size,
            max_megapixels=args.max_megapixels,
            max_file_mb=args.max_file_mb,
            device=str(choose_device(args.device)),
            models=tuple(args.model),
            hub_models=not args.no_hub_models,
            load_at_start=load_at_start,
            on_device=on_device or _DEFAULTS.on_device,
        )
        check_address(args.host, args.port)
        check_upload_folder()
        serve(args.host, args.port, options=options, share=args.share, mcp=args.mcp)
    except OSError as error:
        print(f"The demo cannot start: {error}.", file=sys.stderr)
        return 2
    except (ModelError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def check_address(host: str, port: int | None) -> None:
    """Check that there is an address to listen on, as the error of the server would not say what is wrong.

    Raises:
        ValueError: the host is not this machine, or the port is taken or not for everybody.
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
    raise ValueError(f"The demo cannot listen on {host}, port {given}: {cause}; choose others by --host, --port.")


def check_upload_folder() -> None:
    """Check that there is a folder for uploads that can be written.

    Raises:
        ValueError: there is none.
    """
    folder = Path(get_upload_folder())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"The folder for uploads, {folder}, cannot be used: {error.strerror}; name another in the environment "
            "variable GRADIO_TEMP_DIR."
        ) from error


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of app.py's flags."""
    parser = argparse.ArgumentParser(prog="app.py", description="Fuse pairs of pictures in the browser.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=_port, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also open a public address through gradio.live")
    parser.add_argument("--mcp", action="store_true", help="also offer the endpoints as MCP tools (gradio[mcp])")
    parser.add_argument(
        "--queue-size",
        type=_positive(int),
        default=_DEFAULTS.queue_size,
        help="how many requests can wait; the next one is told that the queue is full (default: %(default)s)",
    )
    parser.add_argument(
        "--max-megapixels",
        type=_positive(float),
        default=_DEFAULTS.max_megapixels,
        help="largest picture that is decoded, in millions of pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--max-file-mb",
        type=_positive(int),
        default=_DEFAULTS.max_file_mb,
        help="largest file that is taken, in millions of bytes (default: %(default)s)",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda or another of torch's (default: a GPU if there is)")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="model to use for its task: a bare name, a folder or OWNER/NAME on the Hub; can be repeated",
    )
    parser.add_argument("--no-hub-models", action="store_true", help="do not let visitors name a model on the Hub")
    return parser


def serve(
    host: str = "127.0.0.1",
    port: int | None = None,
    *,
    options: DemoOptions = _DEFAULTS,
    share: bool = False,
    mcp: bool = False,
    wait: bool = True,
) -> gr.Blocks:
    """Build the demo and serve it. Only `share`, and a visitor who names a model on the Hub, open a connection.

    Args:
        host: address to listen on.
        port: port to listen on; the first free one from 7860 if not given.
        options: limits, models and device.
        share: also open a public address through gradio.live.
        mcp: also offer the endpoints as tools of the Model Context Protocol, below ``/gradio_api/mcp/``.
        wait: return only when the demo is stopped by Ctrl-C or SIGTERM, else at once; then stop it by ``close()``.

    Raises:
        OSError: the host or port cannot be listened on.
        ModelError: a model that is asked for in the options cannot be loaded.
        ValueError: `mcp` is asked for, and gradio's extra is not installed.
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
        footer_links=["api", "settings"],
        mcp_server=mcp,
        max_threads=40 + options.queue_size,
        max_file_size=options.max_file_mb * 1_000_000,
    )
    if wait:
        # Ended by a service manager as by Ctrl-C, the demo still removes the pictures it was given.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        demo.block_thread()
        # Gradio gives its server five seconds to end, and removes them only if that was enough.
        delete_files_created_by_app(demo, age=None)
    return demo


def _check_mcp() -> None:
    try:
        import mcp  # noqa: F401
    except ImportError as error:
        raise ValueError("--mcp needs an extra of gradio; install it with: pip install 'gradio[mcp]'") from error


def _port(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text} is not a port; give a number from 1 to 65535")
    return int(text)


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not value > 0 or value == float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not a {'whole ' if kind is int else ''}number above 0")
        return value

    return number
