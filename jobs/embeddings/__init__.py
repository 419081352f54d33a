"""Stores of chunk vectors: the embed job's check, and reading a store back for the other jobs."""
