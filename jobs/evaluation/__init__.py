"""What the evaluate job is made of: true labels, their join with predictions, a checkpoint's own run, the table."""
