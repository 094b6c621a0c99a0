"""Stage two: the student, trained against the store."""
