"""The neural modules of the paper: fusion, loss proposal and reconstruction."""
