"""From two images to a fused one: preparation, the network, anchors, output range, colour."""
