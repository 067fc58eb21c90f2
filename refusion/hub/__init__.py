"""Model folders, their names, cards and publication on the Hugging Face Hub."""
