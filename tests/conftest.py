"""What holds for all tests: a busy machine makes nothing fail that is not wrong."""

from hypothesis import HealthCheck, settings

# By default an example that takes 200 ms fails its test, which says how busy the machine was.
settings.register_profile("vidhub", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vidhub")
