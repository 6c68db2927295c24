"""All that is measured of speed and memory, in a given time, on whatever it runs on: see `command`."""
