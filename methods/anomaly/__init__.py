"""Detectors of anomalies in images, explanations of what others detect, and controls."""
