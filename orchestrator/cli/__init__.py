"""The command line: `main` runs a command, `parser` states them, `commands` carries them out."""
