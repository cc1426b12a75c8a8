"""Policies to beat, and the script that judges them."""
