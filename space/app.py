"""Entry point of the Space: starts the demo with the weights loaded, on a borrowed GPU where there is one."""

import os
import sys

try:
    # On ZeroGPU this must come before torch.
    from spaces import GPU as ON_DEVICE
except ImportError:
    ON_DEVICE = None

from refusion.demo.command import main

if __name__ == "__main__":
    host = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    # 8 megapixels fit the minute that ZeroGPU lends a GPU for, and take a free CPU a few minutes.
    flags = ["--host", host, "--max-megapixels", "8"]
    sys.exit(main([*flags, *sys.argv[1:]], load_at_start=True, on_device=ON_DEVICE))
