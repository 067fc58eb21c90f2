"""Meta-training; `python train.py --help` lists the flags."""

import sys

from refusion.training.command import main

if __name__ == "__main__":
    sys.exit(main())
