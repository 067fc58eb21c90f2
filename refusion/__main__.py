"""`python -m refusion` is the `refusion` command."""

from refusion.cli import main

if __name__ == "__main__":
    main()
