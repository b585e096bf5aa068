"""The measurements of `tats-gym benchmark`, imported as `tats_gym.benchmarks`."""
