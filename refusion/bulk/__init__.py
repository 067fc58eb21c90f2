"""Fusing data sets of any length into Parquet files."""
