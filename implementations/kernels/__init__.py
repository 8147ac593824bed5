"""What several implementations rest on: attention with its log-sum-exp, the blocked schedule, scoped precision."""
