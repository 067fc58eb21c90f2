"""The command `python app.py` and its flags, which are checked before anything heavy is imported."""

import argparse
import sys
from collections.abc import Callable

from refusion.demo.options import Decorator, DemoOptions
from refusion.hub.names import locate
from refusion.system.devices import check_device, choose_device
from refusion.system.extras import MissingExtraError, need
from refusion.system.flags import FlagParser
from refusion.system.output import leave_out_library_warnings

_DEFAULTS = DemoOptions()


def main(argv: list[str] | None = None, *, load_at_start: bool = False, on_device: Decorator | None = None) -> int:
    """Serve the demo until it is stopped.

    Args:
        argv: flags; those of the process if not given.
        load_at_start: see `DemoOptions`.
        on_device: see `DemoOptions`.

    Returns:
        The exit code: 0 on success; 2 if the address, the device or a model cannot be used.
    """
    leave_out_library_warnings()
    args = make_parser().parse_args(argv)
    try:
        check_device(args.device)
        for name in args.model:
            locate(name)
        need("demo", "The demo")
        from refusion.demo.server import check_address, check_upload_folder, serve

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
    except (MissingExtraError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of app.py's flags."""
    parser = FlagParser(prog="app.py", description="Fuse pairs of images in the browser.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=_port, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also open a public address through gradio.live")
    parser.add_argument("--mcp", action="store_true", help="also offer the endpoints as MCP tools (gradio[mcp])")
    parser.add_argument(
        "--queue-size",
        type=_positive(int),
        default=_DEFAULTS.queue_size,
        help="how many requests can wait; any more are refused (default: %(default)s)",
    )
    parser.add_argument(
        "--max-megapixels",
        type=_positive(float),
        default=_DEFAULTS.max_megapixels,
        help="largest image that is decoded, in millions of pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--max-file-mb",
        type=_positive(int),
        default=_DEFAULTS.max_file_mb,
        help="largest file that is accepted, in millions of bytes (default: %(default)s)",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda or another torch device (default: a GPU if any)")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="model to use for its task: a bundled model, a folder or OWNER/NAME on the Hub; can be repeated",
    )
    parser.add_argument("--no-hub-models", action="store_true", help="do not let visitors name a model on the Hub")
    return parser


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
