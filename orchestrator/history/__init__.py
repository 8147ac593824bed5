"""Every sweep under the results folder at once: what is known already, and what changed when."""
