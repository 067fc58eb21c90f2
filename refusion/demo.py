"""The Gradio demo: one tab per task, two pictures in, one out."""

import argparse
import signal
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import gradio as gr
from PIL import Image

from refusion.hub import ModelError, has_weights
from refusion.images import PictureError
from refusion.model import ReFusion
from refusion.tasks import TASKS, Task

QUEUE_LENGTH = 16
"""How many people can wait; the next one is told that the queue is full."""

SECONDS_KEPT = 3600
"""How long uploads and results stay in the temporary folder; stopping the demo removes them at once."""

# Fonts of the reader's own system, so that no page asks a font server for one.
_THEME = {"font": ("system-ui", "sans-serif"), "font_mono": ("ui-monospace", "monospace")}


def main(argv: list[str] | None = None) -> int:
    """Serve the demo until it is stopped; returns the exit code: 0 done, 2 the address cannot be used."""
    args = make_parser().parse_args(argv)
    try:
        serve(args.host, args.port, share=args.share)
    except OSError:
        port = "7860 to 7959 (all taken)" if args.port is None else args.port
        print(f"The demo cannot listen on {args.host}, port {port}; choose others by --host, --port.", file=sys.stderr)
        return 2
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of app.py's flags."""
    parser = argparse.ArgumentParser(prog="app.py", description="Fuse pairs of pictures in the browser.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=_port, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also open a public address through gradio.live")
    return parser


def serve(host: str = "127.0.0.1", port: int | None = None, *, share: bool = False, wait: bool = True) -> gr.Blocks:
    """Build the demo and serve it. Nothing but `share` opens a connection to anywhere.

    Args:
        host: address to listen on.
        port: port to listen on; the first free one from 7860 if not given.
        share: also open a public address through gradio.live.
        wait: return only when the demo is stopped by Ctrl-C or SIGTERM, else at once; then stop it by ``close()``.

    Raises:
        OSError: the host or port cannot be listened on.
    """
    demo = build_demo()
    demo.launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        theme=gr.themes.Default(**_THEME),
        ssr_mode=False,
        max_file_size="200mb",
    )
    if wait:
        # Ended by a service manager as by Ctrl-C, the demo still removes the pictures it was given.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        demo.block_thread()
    return demo


def build_demo(tasks: Iterable[Task] = TASKS.values()) -> gr.Blocks:
    """Return the page with one tab per task; no weights are loaded before the first fusion.

    Each task whose weights are bundled has an endpoint named after it, such as ``/fuse_ir_vis``.
    """
    with gr.Blocks(title="ReFusion", analytics_enabled=False, delete_cache=(SECONDS_KEPT // 6, SECONDS_KEPT)) as demo:
        gr.Markdown("# ReFusion\nFuse two registered pictures of one scene into one.")
        with gr.Tabs():
            for task in tasks:
                with gr.Tab(task.title, id=task.name):
                    _fill_tab(task)
    return demo.queue(max_size=QUEUE_LENGTH)


@cache
def load_model(name: str) -> ReFusion:
    """Load bundled weights by bare name, once per process.

    Raises:
        ModelError: there are none, or they are damaged.
    """
    return ReFusion.from_pretrained(name)


def _fill_tab(task: Task) -> None:
    gr.Markdown(_describe(task))
    if not has_weights(task.model):
        gr.Markdown(f"This version comes without the weights `{task.model}`, so nothing can be fused here yet.")
        return

    def fuse(a: dict[str, Any] | None, b: dict[str, Any] | None, stretch: bool) -> Image.Image:
        """Fuse two registered pictures of one scene."""
        try:
            first, second = (_stored(source, label) for source, label in zip((a, b), task.labels, strict=True))
            release = {"output_range": "stretch", "anchor": "none"}
            return load_model(task.model).fuse(first, second, **(release if stretch else {}))
        except (PictureError, ModelError) as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error

    with gr.Row():
        a, b = (
            gr.Image(
                label=_heading(label), type="filepath", format="png", image_mode=None, sources=["upload", "clipboard"]
            )
            for label in task.labels
        )
        fused = gr.Image(label="Fused", format="png", interactive=False, buttons=["download", "fullscreen"])
    stretch = gr.Checkbox(
        label="Stretch to full range",
        info="Darkest to black, brightest to white, as the authors' release does; else the range that suits the task.",
    )
    # Without preprocessing, files go to refusion.images as they came, which has a sentence for each bad one.
    gr.Button("Fuse", variant="primary").click(
        fuse,
        [a, b, stretch],
        fused,
        api_name=f"fuse_{task.name.replace('-', '_')}",
        preprocess=False,
        concurrency_id="fusion",
        concurrency_limit=1,
    )


def _describe(task: Task) -> str:
    first, second = task.labels
    colour = {
        "a": f"the {first} picture",
        "b": f"the {second} picture",
        "release": "both; the stronger counts more",
    }
    return (
        f"A pair is one scene in two pictures that match pixel for pixel: **{first}** and **{second}**. "
        f"Colour comes from {colour[task.chroma]}."
    )


def _stored(source: dict[str, Any] | None, label: str) -> str:
    """Path under which gradio stored an upload."""
    if not source or not source["path"]:
        raise PictureError(f"The {label} picture is missing; a pair is two pictures, so add it and fuse again.")
    return source["path"]


def _heading(label: str) -> str:
    return label[0].upper() + label[1:]


def _port(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text} is not a port; give a number from 1 to 65535")
    return int(text)
