"""The Gradio demo; `python app.py --help` lists the flags."""

import sys

from refusion.demo.command import main

if __name__ == "__main__":
    sys.exit(main())
