"""Loading, saving and exporting models."""
