"""Anomalies in images that are drawn here, whether and where."""
