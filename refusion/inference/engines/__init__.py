"""The engines that run the network, and the choice between them."""
