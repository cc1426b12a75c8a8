"""Baseline policies, the solver of the optimum, the evaluation against both, and cost studies before and after the trade."""
