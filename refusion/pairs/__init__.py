"""Pairs of source images: folders, lists, data sets and rows of tables."""
