"""What the train job is made of: labelled documents, their vectors, the run, its record, and what a model must beat."""
