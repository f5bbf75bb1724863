"""Encoders from views of images, without their classes."""
