"""Fuse images: preparation, the network, anchors, output range, colour."""
