"""What keeps a document that kills its process from killing the job."""
