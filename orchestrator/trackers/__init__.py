"""Where a sweep's rows are shown beside the journal. Nothing here is a source of truth."""
