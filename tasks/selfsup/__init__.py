"""Encoders of images from views, without their classes: what features and uncertainties are worth."""
