"""The jobs a user submits: one module a job, each also ``python -m jobs.<name>``."""
