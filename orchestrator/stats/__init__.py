"""Pure statistics: summaries with intervals, noise, ratios."""
