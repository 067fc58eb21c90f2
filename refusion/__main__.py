"""Entry point of `python -m refusion`, the same as the `refusion` command."""

from refusion.cli.app import main

if __name__ == "__main__":
    main()
