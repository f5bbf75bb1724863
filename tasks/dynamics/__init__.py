"""Learning curves: how errors of estimators fall with the number of examples, and rise with the share of outliers."""
