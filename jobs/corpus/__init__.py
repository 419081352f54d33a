"""The corpus: where it lies, its formats, its plan of shards, and reading one shard. Knows no model."""
