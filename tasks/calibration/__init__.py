"""Calibration of classifiers, on clean test images and on rotated ones."""
