"""Ridge's mean and a Gaussian residual field: the control that a sampler has to beat."""
