"""Pairs of source images in folders, lists, data sets and tables."""
