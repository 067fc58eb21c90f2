"""The Gradio demo; `python app.py --help` lists the flags."""

from typing import TYPE_CHECKING, Any

from refusion.demo.command import main

if TYPE_CHECKING:
    from refusion.demo.page import build_demo
    from refusion.demo.server import serve

__all__ = ["build_demo", "main", "serve"]


def __getattr__(name: str) -> Any:
    # The flags are read without gradio, which takes seconds to import.
    if name == "build_demo":
        from refusion.demo.page import build_demo

        return build_demo
    if name == "serve":
        from refusion.demo.server import serve

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
