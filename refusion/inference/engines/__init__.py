"""The ways in which the network runs, and the choice between them."""
