"""What a job over a corpus would be, from a look at it and a sample of its documents."""
