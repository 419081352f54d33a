"""What the report job makes of an output folder: figures of all its documents in one pass, and a page of them."""
