"""`mipd-pipe inspect report`: one HTML page that shows a run and the pictures of its store."""
