"""`mipd-pipe export-student`."""
