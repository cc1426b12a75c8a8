"""Audits: the known artefacts of simulated execution, looked for in an environment, a policy, results or data of anybody."""
