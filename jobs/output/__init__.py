"""What a job writes: labelled parts, the quarantine, the record of the job, progress and summary. Knows no model."""
