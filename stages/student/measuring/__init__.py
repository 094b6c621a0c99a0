"""SWiG's metrics, their intervals and their files."""
