"""Models that draw an image pixel by pixel, whose likelihood is exact."""
