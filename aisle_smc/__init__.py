"""One weighted-particle engine for importance sampling, SMC samplers and particle filters."""

__version__ = "0.1.0"
