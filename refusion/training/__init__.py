"""Meta-training of the three modules."""
