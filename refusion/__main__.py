"""`python -m refusion` is the `refusion` command."""

from refusion.cli.app import main

if __name__ == "__main__":
    main()
