"""The command line: configuration, commands, progress and inspection."""
