"""Worked example configurations, shipped with the package."""
