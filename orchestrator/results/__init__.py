"""What a sweep leaves behind, and what it says: the journal, rows, answers, the directory."""
