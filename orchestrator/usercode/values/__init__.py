"""Values that calls take and give: trees of tensors and what else, kept and compared."""
