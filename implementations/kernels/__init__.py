"""Shared by implementations: attention with its log-sum-exp, schedules in blocks, precision."""
