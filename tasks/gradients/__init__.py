"""The noise of gradient estimators."""
