"""What the text of a user's file says, read without importing it."""
