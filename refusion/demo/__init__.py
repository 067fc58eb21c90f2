"""The Gradio demo; `python app.py --help` lists the flags."""

from refusion.demo.page import build_demo
from refusion.demo.server import main, serve

__all__ = ["build_demo", "main", "serve"]
