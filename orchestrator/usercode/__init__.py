"""The user's code: found, hashed, imported, built, called, and named when it fails."""
