"""``python -m tests.benchmarks.whole_job``: from files of documents to files of labels, ours and others' ways.

`ours` is the classify job; `bare` its encoder alone on the same chunks; `ray_data` what a person would write with Ray
Data and sentence-transformers; `lists` moves data as NeMo Curator's tokenizer and model stages do. Each runs in a
process of its own with a Ray of its own, over the same documents, chunks, encoder and aggregator, and their labels
are compared.
"""
